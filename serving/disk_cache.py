"""Keeping downloaded bundles within a size: the ones that were asked for the longest ago go."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from components.contracts.bundle import MANIFEST_FILE, read_manifest
from components.contracts.errors import LookalikeError
from serving import log

# What a killed download left is removed when nobody can be writing it any more.
_LEFTOVER_SECONDS = 24 * 3600.0


def prune(root: Path, *, max_bytes: int, keep: Collection[Path]) -> list[Path]:
    """Removes bundles until the rest fits.

    A bundle that another server has loaded may go: it has read or mapped what it needs.

    Args:
        root: Holds one folder a registry, which holds one folder a bundle.
        max_bytes: Most bytes that stay; what is in `keep` stays whatever it takes.
        keep: Bundles that stay.

    Returns:
        What was removed.
    """
    found: list[tuple[float, int, Path]] = []
    removed: list[Path] = []
    for entry in root.glob("*/*"):
        if entry.name.startswith("."):
            if _is_leftover(entry):
                shutil.rmtree(entry, ignore_errors=True)
            continue
        try:
            found.append((entry.stat().st_mtime, _size(entry), entry))
        except FileNotFoundError:
            continue  # Another server's cleaning was faster.
    used = sum(size for _, size, entry in found if entry in keep)
    for _, size, entry in sorted(found, reverse=True):
        if entry in keep:
            continue
        used += size
        if used > max_bytes:
            # The manifest first: half a bundle must not be taken for a whole one.
            (entry / MANIFEST_FILE).unlink(missing_ok=True)
            shutil.rmtree(entry, ignore_errors=True)
            used -= size
            removed.append(entry)
    if removed:
        log.event(
            "bundles removed from the cache",
            level=logging.INFO,
            versions=[entry.name for entry in removed],
        )
    return removed


def _size(directory: Path) -> int:
    try:
        return sum(entry.size for entry in read_manifest(directory).files.values())
    except (LookalikeError, OSError):
        return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _is_leftover(entry: Path) -> bool:
    """Whether this is a temporary folder, such as `.v1.k3j2`, that nobody has touched for long."""
    if entry.name == ".state" or not entry.is_dir():
        return False
    return time.time() - entry.stat().st_mtime > _LEFTOVER_SECONDS
