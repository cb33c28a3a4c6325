"""Bundles in a registry: `bundles/<version>/...`, the manifest last, never changed after.

A version is visible exactly when its manifest is. While one is uploaded, `claims/<version>.json`
says by whom, so that two builds cannot mix their files under one version.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.contracts import bundle
from components.contracts.bundle import MANIFEST_FILE, FileEntry, Manifest, check_version
from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import sha256_bytes, sha256_file
from components.registry import claims
from components.registry.backoff import Backoff, write_once
from components.registry.object_store import (
    ABSENT,
    ObjectNotFoundError,
    ObjectStore,
    OutcomeUnknownError,
    PreconditionFailedError,
    RateLimitedError,
)

_THREADS = 8


class BundleError(LookalikeError):
    """A bundle is not what its manifest says."""


def bundle_key(version: str, path: str = MANIFEST_FILE) -> str:
    """Returns where a file of a bundle is kept.

    Raises:
        InputError: The version cannot be one.
    """
    return f"bundles/{check_version(version)}/{path}"


def condemned_key(version: str) -> str:
    """Returns where the removal of a version is announced."""
    return f"condemned/{check_version(version)}.json"


def read_manifest(store: ObjectStore, version: str) -> tuple[Manifest, str]:
    """Returns a published bundle's manifest and the manifest's SHA-256.

    Raises:
        InputError: There is no such version.
        BundleError: The manifest cannot be read.
    """
    key = bundle_key(version)
    try:
        data, _ = store.read(key)
    except ObjectNotFoundError:
        raise InputError(
            f"{store.uri}: there is no version {version!r}; `lookalike index list` shows those "
            "there are"
        ) from None
    try:
        manifest = Manifest.from_json(json.loads(data), source=key)
    except (ValueError, InputError, TypeError) as error:
        raise BundleError(f"{key}: cannot be read ({error})") from None
    if manifest.version != version:
        raise BundleError(f"{key}: is the manifest of another version, {manifest.version!r}")
    return manifest, sha256_bytes(data)


def is_condemned(store: ObjectStore, version: str) -> bool:
    """Whether `gc` is removing the version."""
    try:
        store.stat(condemned_key(version))
    except ObjectNotFoundError:
        return False
    return True


def publish(store: ObjectStore, directory: Path, backoff: Backoff) -> str:
    """Uploads a bundle: its files first, its manifest last.

    Publishing the same bundle again does nothing; after a kill it takes up where it was.

    Args:
        store: The registry's store.
        directory: A whole bundle.
        backoff: How to wait.

    Returns:
        The version.

    Raises:
        BundleError: The directory is not what its manifest says.
        LookalikeError: The version exists with another content, or is just being published by
            somebody else, or removed.
    """
    manifest = bundle.read_manifest(directory)
    if problems := bundle.verify(directory, manifest):
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise BundleError(
            f"{directory}: not published, it is not what its manifest says: "
            f"{'; '.join(problems[:3])}{more}"
        )
    data = (directory / MANIFEST_FILE).read_bytes()
    digest = sha256_bytes(data)
    version = manifest.version
    if _is_published(store, version, digest):
        return version
    if is_condemned(store, version):
        raise _condemned(version)
    generation = claims.take_claim(store, version, digest)
    # Only now: whoever held the claim before may have finished meanwhile.
    if not _is_published(store, version, digest):
        if is_condemned(store, version):
            raise _condemned(version)
        _upload_all(store, directory, manifest, backoff)
        if claims.claim_generation(store, version) != generation and not _is_published(
            store, version, digest
        ):
            raise LookalikeError(
                f"version {version}: another build has taken over its upload; publish this one "
                "under another version"
            )
        if not write_once(store, bundle_key(version), data, backoff):
            raise _other_content(version)
    claims.release_claim(store, version, generation)
    return version


def download(
    store: ObjectStore, version: str, target: Path, *, paths: Sequence[str] | None = None
) -> Path:
    """Downloads a bundle, or a part of it, checking every file's SHA-256.

    The target appears whole or not at all. One that is there already is checked and kept, or
    replaced when a file is missing or wrong.

    Args:
        store: The registry's store.
        version: The bundle.
        target: Directory to make; it must be absent, empty, or an earlier download.
        paths: Prefixes of the files wanted, such as `encoder/`; None for all.

    Returns:
        The target.

    Raises:
        InputError: There is no such version, the target is something else, or a prefix fits no
            file.
        BundleError: A file is missing in the registry or has another sum.
    """
    manifest, digest = read_manifest(store, version)
    chosen = {
        path: entry
        for path, entry in manifest.files.items()
        if paths is None or any(path.startswith(prefix) for prefix in paths)
    }
    for prefix in paths or ():
        if not any(path.startswith(prefix) for path in manifest.files):
            raise InputError(f"version {version}: has no file that starts with {prefix!r}")
    if target.exists():
        if not (target / MANIFEST_FILE).is_file() and any(target.iterdir()):
            raise InputError(f"{target}: exists and is not a bundle; choose another directory")
        if _holds(target, digest, chosen):
            return target
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:

        def fetch(path: str) -> None:
            key = bundle_key(version, path)
            try:
                store.download_file(key, staging / path)
            except ObjectNotFoundError:
                raise BundleError(
                    f"version {version}: {path} is in the manifest but not in the registry; "
                    f"`lookalike index verify {version}` lists all that is wrong"
                ) from None
            if sha256_file(staging / path) != chosen[path].sha256:
                raise BundleError(
                    f"version {version}: {path}: expected SHA-256 {chosen[path].sha256[:12]}..., "
                    f"received other bytes; `lookalike index verify {version}` lists all that is "
                    "wrong"
                )

        _each(fetch, chosen)
        store.download_file(bundle_key(version), staging / MANIFEST_FILE)
        if sha256_file(staging / MANIFEST_FILE) != digest:
            raise BundleError(f"version {version}: its manifest changed while it was downloaded")
        staging.chmod(0o755)
        if target.exists():
            retired = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
            os.replace(target, retired / "old")
            os.replace(staging, target)
            shutil.rmtree(retired)
        else:
            os.replace(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def problems_of(store: ObjectStore, version: str, *, contents: bool = True) -> list[str]:
    """Compares a published bundle with its manifest.

    Args:
        store: The registry's store.
        version: The bundle.
        contents: Whether to read every byte; otherwise only names and sizes are compared.

    Returns:
        What is wrong, one sentence each; empty when the bundle is whole.

    Raises:
        InputError: There is no such version.
        BundleError: The manifest cannot be read.
    """
    manifest, _ = read_manifest(store, version)
    prefix = f"bundles/{version}/"
    present = {info.key.removeprefix(prefix): info for info in store.list(prefix)}
    present.pop(MANIFEST_FILE, None)
    found: dict[str, str] = {}

    def look(path: str) -> None:
        expected, info = manifest.files[path], present.get(path)
        if info is None:
            found[path] = f"{path}: missing"
        elif info.size != expected.size:
            found[path] = f"{path}: expected {expected.size} bytes, found {info.size}"
        elif contents:
            try:
                digest = _stored_sha256(store, prefix + path)
            except ObjectNotFoundError:
                found[path] = f"{path}: missing"
                return
            if digest != expected.sha256:
                found[path] = (
                    f"{path}: expected SHA-256 {expected.sha256[:12]}..., found {digest[:12]}..."
                )

    _each(look, manifest.files)
    extra = [f"{path}: not in the manifest" for path in sorted(set(present) - set(manifest.files))]
    return [found[path] for path in sorted(found)] + extra


def encoder_problem(store: ObjectStore, manifest: Manifest) -> str:
    """Returns why the index and the encoder beside it do not belong together; empty if they do."""
    key = bundle_key(manifest.version, "encoder/encoder.json")
    try:
        value: Any = json.loads(store.read(key)[0])
    except ObjectNotFoundError:
        return "encoder/encoder.json: missing, so nothing says which encoder this is"
    except ValueError as error:
        return f"encoder/encoder.json: expected JSON ({error})"
    digest = value.get("digest", "") if isinstance(value, dict) else ""
    if not digest or digest != manifest.encoder_digest:
        return (
            f"the index was built with the encoder {manifest.encoder_digest[:12] or '(none)'}..., "
            f"but the one beside it calls itself {str(digest)[:12] or '(nothing)'}..."
        )
    return ""


def _holds(target: Path, digest: str, chosen: dict[str, FileEntry]) -> bool:
    manifest = target / MANIFEST_FILE
    return (
        manifest.is_file()
        and sha256_file(manifest) == digest
        and all(
            (target / path).is_file() and sha256_file(target / path) == entry.sha256
            for path, entry in chosen.items()
        )
    )


def _is_published(store: ObjectStore, version: str, digest: str) -> bool:
    try:
        data, _ = store.read(bundle_key(version))
    except ObjectNotFoundError:
        return False
    if sha256_bytes(data) != digest:
        raise _other_content(version)
    return True


def _other_content(version: str) -> LookalikeError:
    return LookalikeError(
        f"version {version}: published already with another content; bundles never change: "
        "publish under another version"
    )


def _condemned(version: str) -> LookalikeError:
    return LookalikeError(f"version {version}: gc is removing it; publish under another version")


def _upload_all(store: ObjectStore, directory: Path, manifest: Manifest, backoff: Backoff) -> None:
    """Uploads what is not there yet, and removes what another build's dead upload left."""
    prefix = f"bundles/{manifest.version}/"
    present = {info.key: info for info in store.list(prefix)}
    for key, info in present.items():
        if key.removeprefix(prefix) not in manifest.files and key != prefix + MANIFEST_FILE:
            store.delete(key, if_generation=info.generation)

    def upload(path: str) -> None:
        key, entry = prefix + path, manifest.files[path]
        known = present.get(key)
        if known and _same(store, key, entry):
            return
        failure: LookalikeError | None = None
        for _ in backoff.tries():
            try:
                store.upload_file(
                    directory / path, key, if_generation=known.generation if known else ABSENT
                )
            except PreconditionFailedError as error:
                # Another process uploads the same bundle, or our own lost answer was a success.
                if _same(store, key, entry):
                    return
                raise LookalikeError(
                    f"version {manifest.version}: {path}: another build writes it at the same time"
                ) from error
            except (RateLimitedError, OutcomeUnknownError) as error:
                failure = error
            else:
                return
        raise failure or LookalikeError(f"{key}: not uploaded")

    _each(upload, manifest.files)


def _same(store: ObjectStore, key: str, entry: FileEntry) -> bool:
    try:
        return store.stat(key).size == entry.size and _stored_sha256(store, key) == entry.sha256
    except ObjectNotFoundError:
        return False


def _stored_sha256(store: ObjectStore, key: str) -> str:
    digest = hashlib.sha256()
    for chunk in store.read_chunks(key):
        digest.update(chunk)
    return digest.hexdigest()


def _each(work: Callable[[str], None], paths: Iterable[str]) -> None:
    """Does the work for every path, several at a time; the first failure is raised."""
    with ThreadPoolExecutor(_THREADS) as pool:
        futures = [pool.submit(work, path) for path in paths]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
