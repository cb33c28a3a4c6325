"""Where a server's bundles come from: a channel of a registry, or one directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components.contracts.bundle import MANIFEST_FILE, check_version, read_manifest, verify
from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import read_json, sha256_bytes, sha256_file, write_json
from components.registry.registry import Registry
from serving import disk_cache

STATE_DIRECTORY = ".state"


@dataclass(frozen=True)
class Fetched:
    """A bundle on this machine.

    Attributes:
        directory: Where it lies.
        verified: SHA-256 of its manifest when every file was just compared with the sums in it;
            empty when nobody has looked yet.
    """

    directory: Path
    verified: str = ""


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

    def fetch(self, version: str, *, kept: bool = False) -> Fetched:
        """Returns the directory."""
        del version, kept
        return Fetched(self._directory)

    def last_good(self) -> str:
        """Returns nothing: there is no other bundle."""
        return ""

    def note_good(self, version: str) -> None:
        """Remembers nothing."""


class ChannelSource:
    """A channel of a registry; bundles are kept in a folder that outlives the server."""

    def __init__(self, uri: str, channel: str, cache: Path, *, max_bytes: int) -> None:
        """Opens the registry without touching it.

        Args:
            uri: The registry.
            channel: The channel's name.
            cache: Folder for downloaded bundles; several servers may share it.
            max_bytes: Most that the folder may hold beside what is in use.

        Raises:
            InputError: The URI cannot name a registry.
        """
        self._uri = uri
        self.registry = Registry.open(uri)
        self._channel = channel
        # Two registries may use the same version for different bundles.
        place = uri if "://" in uri else str(Path(uri).resolve())
        self._root = cache
        self._cache = cache / sha256_bytes(place.encode())[:16]
        self._max_bytes = max_bytes

    @property
    def state(self) -> Path:
        """Folder for what servers of this registry remember between starts."""
        return self._cache / STATE_DIRECTORY

    def live(self) -> str:
        """Returns the version that the channel names.

        Raises:
            LookalikeError: The registry cannot be read, or names none: says what to do.
        """
        version = self.registry.channel(self._channel).live
        if not version:
            raise LookalikeError(
                f"channel {self._channel!r} of {self._uri} has no live bundle; run the pipeline "
                f"(lookalike run ... --channel {self._channel}) or promote a version "
                f"(lookalike index promote --registry {self._uri} --channel {self._channel})"
            )
        return version

    def fetch(self, version: str, *, kept: bool = False) -> Fetched:
        """Returns the bundle's folder in the cache, whole and as the registry has it.

        What is in the cache is read once, to compare its sums; what is missing or damaged is
        downloaded. Processes that want the same version at the same time download it once.

        Args:
            version: The bundle's version.
            kept: Whether it is the last resort: what is whole in the cache is taken unasked. A
                folder that is not mounted looks like a registry without any version.

        Raises:
            LookalikeError: The registry cannot be read, or what it holds is damaged.
        """
        target = self._cache / check_version(version)
        with self._locked(version):
            digest = self._intact(target)
            if not digest or not (kept or digest == self._published_digest(version, digest)):
                self.registry.download_bundle(version, target)
                digest = sha256_file(target / MANIFEST_FILE)
            os.utime(target)
        disk_cache.prune(self._root, max_bytes=self._max_bytes, keep={target, *self._in_use()})
        return Fetched(target, digest)

    def last_good(self) -> str:
        """Returns the version that a server of this channel last served here; empty for none."""
        try:
            value = read_json(self._note)
            version = check_version(value["version"])
        except (InputError, OSError, KeyError, TypeError):
            return ""
        return version if (self._cache / version / MANIFEST_FILE).is_file() else ""

    def note_good(self, version: str) -> None:
        """Remembers what is being served, for a start without the registry."""
        before = self.last_good()
        if before != version:
            write_json(self._note, {"version": version, "previous": before})

    @property
    def _note(self) -> Path:
        return self.state / f"live-{self._channel}.json"

    def _intact(self, target: Path) -> str:
        """Returns the SHA-256 of a cached bundle's manifest, empty unless the bundle is whole."""
        try:
            manifest = read_manifest(target)
            return "" if verify(target, manifest) else sha256_file(target / MANIFEST_FILE)
        except (LookalikeError, OSError):
            return ""

    def _published_digest(self, version: str, cached: str) -> str:
        """Returns what the registry says; what the cache has where it cannot be asked.

        A whole bundle in the cache was compared with the registry when it came, and bundles never
        change there.
        """
        try:
            return self.registry.manifest(version)[1]
        except InputError:
            raise  # There is no such version.
        except (LookalikeError, OSError):
            return cached

    def _in_use(self) -> Iterator[Path]:
        """Yields the bundles that this registry's channels served last, here."""
        for note in self.state.glob("live-*.json"):
            with contextlib.suppress(InputError, OSError):
                value = read_json(note)
                yield from (self._cache / str(name) for name in value.values() if name)

    @contextlib.contextmanager
    def _locked(self, version: str) -> Iterator[None]:
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.state / f"{version}.lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
