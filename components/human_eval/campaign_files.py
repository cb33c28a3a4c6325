"""A channel's campaigns: a folder of a local registry, or a copy of what a remote one holds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.contracts.files import sha256_file
from components.contracts.images import local_path
from components.registry.channel import check_channel
from components.registry.object_store import ObjectStore, open_store


@contextmanager
def campaign_folder(registry: str, channel: str) -> Iterator[Path]:
    """Yields a local folder with the channel's campaigns; what changed in it is kept.

    Args:
        registry: The registry's URI. A local one is worked on in place; from a remote one the
            campaigns are fetched first, and what is new or changed is written back at the end.
        channel: The channel.
    """
    prefix = f"campaigns/{check_channel(channel)}/"
    if "://" not in registry or registry.startswith("file:"):
        folder = local_path(registry) / prefix
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    store = open_store(registry)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        fetched = _fetch(store, prefix, folder)
        yield folder
        _save(store, prefix, folder, fetched)


def _fetch(store: ObjectStore, prefix: str, folder: Path) -> dict[str, str]:
    """Returns SHA-256 by relative name of what came."""
    fetched: dict[str, str] = {}
    for entry in list(store.list(prefix)):
        name = entry.key.removeprefix(prefix)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        store.download_file(entry.key, path)
        fetched[name] = sha256_file(path)
    return fetched


def _save(store: ObjectStore, prefix: str, folder: Path, fetched: dict[str, str]) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if fetched.get(name) != sha256_file(path):
            store.upload_file(path, prefix + name)
