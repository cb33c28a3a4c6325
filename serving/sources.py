"""Where a server's bundles come from: a channel of a registry, or one directory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from components.contracts.bundle import read_manifest
from components.contracts.errors import LookalikeError
from components.contracts.files import sha256_bytes
from components.registry.registry import Registry

KEPT_BUNDLES = 4
"""How many bundles of a registry stay in the cache: a rollback finds the last ones there."""


class DirectorySource:
    """One bundle directory, served as it is."""

    def __init__(self, directory: Path) -> None:
        """Reads the manifest.

        Raises:
            InputError: The directory is not a bundle.
        """
        self._directory = directory
        self._version = read_manifest(directory).version

    def live(self) -> str:
        """Returns the bundle's version."""
        return self._version

    def fetch(self, version: str) -> Path:
        """Returns the directory."""
        del version
        return self._directory


class ChannelSource:
    """A channel of a registry; bundles are kept in a folder that outlives the server."""

    def __init__(self, uri: str, channel: str, cache: Path) -> None:
        """Opens the registry.

        Args:
            uri: The registry.
            channel: The channel's name.
            cache: Folder for downloaded bundles; several servers may share it.

        Raises:
            LookalikeError: The registry cannot be opened.
        """
        self._uri = uri
        self._registry = Registry.open(uri)
        self._channel = channel
        # Two registries may use the same version for different bundles.
        place = uri if "://" in uri else str(Path(uri).resolve())
        self._cache = cache / sha256_bytes(place.encode())[:16]

    def live(self) -> str:
        """Returns the version that the channel names; empty when it names none.

        Raises:
            LookalikeError: The registry cannot be read.
        """
        return self._registry.channel(self._channel).live

    def require_live(self) -> str:
        """Returns the live version.

        Raises:
            LookalikeError: Nothing is live: says what to do.
        """
        version = self.live()
        if not version:
            raise LookalikeError(
                f"channel {self._channel!r} of {self._uri} has no live bundle; run the pipeline "
                f"(lookalike run ... --channel {self._channel}) or promote a version "
                f"(lookalike index promote --registry {self._uri} --channel {self._channel})"
            )
        return version

    def fetch(self, version: str) -> Path:
        """Returns the bundle's folder in the cache, whole and as the registry has it.

        Raises:
            LookalikeError: The registry cannot be read, or what it holds is damaged.
        """
        target = self._registry.download_bundle(version, self._cache / version)
        os.utime(target)
        self._prune()
        return target

    def _prune(self) -> None:
        """Removes the bundles that were not asked for the longest.

        One that a server has loaded may go: it has read or mapped what it needs.
        """
        kept = [entry for entry in self._cache.iterdir() if not entry.name.startswith(".")]
        kept.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
        for entry in kept[KEPT_BUNDLES:]:
            shutil.rmtree(entry, ignore_errors=True)
