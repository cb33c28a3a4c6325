"""The bundle: one immutable version of everything that must change together.

The manifest is written last, so a directory without one is not a bundle. This module needs only
the standard library: the commands of the engineer on call read manifests with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import read_json, sha256_bytes, sha256_file, write_json

MANIFEST_FILE = "manifest.json"
SCHEMA = 1
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class FileEntry:
    """One file of a bundle.

    Attributes:
        size: In bytes.
        sha256: 64 lower-case hex digits.
    """

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a bundle is, where it came from, and what every file of it must hash to.

    Attributes:
        version: The bundle's name in the registry.
        created: ISO 8601 in UTC.
        mode: `scratch`, `warm` or `reuse`; `delta` for one made of another version.
        items: How many items are indexed.
        embedding_dim: Dimensions of a vector.
        encoder_digest: What `encoder/encoder.json` calls itself; the index was built with it.
        taxonomy_digest: SHA-256 of taxonomy.csv.
        index: Backend, tuned parameters and measured recall.
        lineage: Catalog, code, run, incumbent, what was reused.
        parameters: The parameters of every step, as strings and numbers.
        metrics: Figures measured while building.
        files: Relative POSIX path to size and sum, for every file but the manifest.
    """

    version: str
    created: str
    mode: str
    items: int
    embedding_dim: int
    encoder_digest: str
    taxonomy_digest: str
    index: dict[str, Any]
    lineage: dict[str, Any]
    parameters: dict[str, Any]
    metrics: dict[str, float]
    files: dict[str, FileEntry]

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, value: object, *, source: str = MANIFEST_FILE) -> Manifest:
        """Reads the JSON form.

        Raises:
            InputError: It is of another schema, a field is missing or unknown, or a file's path
                would leave the bundle.
        """
        if not isinstance(value, dict):
            raise InputError(f"{source}: expected a JSON object, received {type(value).__name__}")
        if value.get("schema") != SCHEMA:
            raise InputError(
                f"{source}: expected schema {SCHEMA}, received {value.get('schema')!r}; "
                "a newer lookalike may have written this bundle: use that one to read it"
            )
        known = {entry.name for entry in fields(cls)}
        given = {key: entry for key, entry in value.items() if key != "schema"}
        unknown, missing = sorted(set(given) - known), sorted(known - set(given))
        if unknown or missing:
            raise InputError(
                f"{source}: not a manifest (unknown fields: {', '.join(unknown) or 'none'}; "
                f"missing: {', '.join(missing) or 'none'})"
            )
        check_version(given["version"])
        try:
            files = {str(path): FileEntry(**entry) for path, entry in given["files"].items()}
        except (TypeError, AttributeError) as error:
            raise InputError(f"{source}: the list of files cannot be read ({error})") from None
        for path in files:
            if not _is_inside(path):
                raise InputError(f"{source}: the file {path!r} would lie outside the bundle")
        return cls(**{**given, "files": files})


def check_version(version: object) -> str:
    """Returns the version when it can be a name in the registry.

    Raises:
        InputError: It is empty, too long, or has slashes, spaces or control characters.
    """
    if not isinstance(version, str) or not _VERSION.fullmatch(version) or ".." in version:
        raise InputError(
            f"version {version!r}: expected letters, digits, dots, hyphens and underscores, "
            "at most 100, without '..'"
        )
    return version


def _is_inside(path: str) -> bool:
    parts = path.split("/")
    return bool(path) and "\\" not in path and all(part not in ("", ".", "..") for part in parts)


def list_files(directory: Path) -> dict[str, FileEntry]:
    """Returns size and sum of every file of a bundle directory, the manifest left out.

    Raises:
        LookalikeError: There is a symbolic link: its target would not travel.
    """
    entries: dict[str, FileEntry] = {}
    for root, folders, names in os.walk(directory):
        for name in [*folders, *names]:
            if (Path(root) / name).is_symlink():
                raise LookalikeError(f"{Path(root) / name}: a bundle cannot hold symbolic links")
        for name in names:
            path = Path(root) / name
            relative = path.relative_to(directory).as_posix()
            if relative != MANIFEST_FILE:
                entries[relative] = FileEntry(path.stat().st_size, sha256_file(path))
    return dict(sorted(entries.items()))


def content_digest(files: Mapping[str, FileEntry]) -> str:
    """Returns one SHA-256 over the names and sums of a bundle's files; versions are named by it."""
    lines = "".join(f"{path}\0{entry.sha256}\n" for path, entry in files.items())
    return sha256_bytes(lines.encode())


def write_manifest(directory: Path, manifest: Manifest) -> str:
    """Writes the manifest, which makes the directory a bundle; returns the manifest's SHA-256."""
    path = directory / MANIFEST_FILE
    write_json(path, manifest.to_json())
    return sha256_file(path)


def read_manifest(directory: Path) -> Manifest:
    """Reads a bundle's manifest.

    Raises:
        InputError: There is none, or it cannot be read.
    """
    path = directory / MANIFEST_FILE
    return Manifest.from_json(read_json(path), source=str(path))


def verify(directory: Path, manifest: Manifest | None = None) -> list[str]:
    """Compares every file with its sum.

    Args:
        directory: The bundle.
        manifest: What to compare with; the bundle's own when None.

    Returns:
        What is wrong, one sentence each; empty when the bundle is whole.
    """
    manifest = manifest or read_manifest(directory)
    found = list_files(directory)
    problems: list[str] = []
    for path, expected in manifest.files.items():
        if path not in found:
            problems.append(f"{path}: missing")
        elif found[path].size != expected.size:
            problems.append(f"{path}: expected {expected.size} bytes, found {found[path].size}")
        elif found[path].sha256 != expected.sha256:
            problems.append(
                f"{path}: expected SHA-256 {expected.sha256[:12]}..., found "
                f"{found[path].sha256[:12]}..."
            )
    problems.extend(f"{path}: not in the manifest" for path in found if path not in manifest.files)
    return problems
