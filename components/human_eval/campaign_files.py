"""The campaign's folder, kept in the registry's object store between runs."""

from __future__ import annotations

from pathlib import Path

from components.contracts.files import sha256_file
from components.contracts.object_store import ObjectStore


class CampaignFiles:
    """Copies a campaign between the store and a local folder that the gate works in."""

    def __init__(self, store: ObjectStore, *, channel: str, version: str) -> None:
        """Names the campaign of a candidate on a channel."""
        self._store = store
        self.prefix = f"campaigns/{channel}/{version}/"
        self._fetched: dict[str, str] = {}

    def fetch(self, folder: Path) -> None:
        """Brings what the store holds of the campaign into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        for entry in list(self._store.list(self.prefix)):
            name = entry.key.removeprefix(self.prefix)
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._store.download_file(entry.key, path)
            self._fetched[name] = sha256_file(path)

    def save(self, folder: Path) -> None:
        """Writes what is new or changed in `folder` to the store; nothing is deleted there."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            digest = sha256_file(path)
            if self._fetched.get(name) != digest:
                self._store.upload_file(path, self.prefix + name)
                self._fetched[name] = digest
