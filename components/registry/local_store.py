"""The object store in a local directory: objects are plain files under their keys.

A write goes to a temporary file, is synced, and is renamed over the old one under a lock, so that
a reader, or a kill at any moment, sees the old object or the new one. The generation is the
file's modification time in nanoseconds, set before the rename and always later than the one
before: one rename thus swaps content and generation together, and a file edited by hand or
restored from a backup gets another generation, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from components.contracts.errors import InputError
from components.registry.object_store import (
    ABSENT,
    ObjectInfo,
    ObjectNotFoundError,
    ObjectStoreError,
    PreconditionFailedError,
    check_key,
    check_prefix,
)

_PRIVATE = ".store"
_STRIPES = 64
_CHUNK = 1 << 20
_LOCK_SECONDS = 60.0


class LocalStore:
    """A directory as an object store; see `components.registry.object_store.ObjectStore`."""

    def __init__(self, root: Path, *, uri: str = "") -> None:
        """Opens the store; the directory is made by the first write.

        Args:
            root: The directory.
            uri: What a person typed to name it; the root itself when empty.

        Raises:
            InputError: The path is a file.
        """
        self.root = Path(os.path.abspath(root))  # noqa: PTH100
        self._uri = uri or str(root)
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"{self._uri}: expected a directory, found a file")

    @property
    def uri(self) -> str:
        """What a person typed to name the store."""
        return self._uri

    def read(self, key: str) -> tuple[bytes, int]:
        """See `ObjectStore.read`."""
        with self._open(key) as file:
            return file.read(), os.fstat(file.fileno()).st_mtime_ns

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """See `ObjectStore.read_chunks`."""
        with self._open(key) as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def write(self, key: str, data: bytes, *, if_generation: int | None = None) -> int:
        """See `ObjectStore.write`."""

        def fill(handle: int) -> None:
            with os.fdopen(os.dup(handle), "wb") as file:
                file.write(data)

        return self._replace(key, fill, if_generation)

    def upload_file(self, path: Path, key: str, *, if_generation: int | None = None) -> int:
        """See `ObjectStore.upload_file`."""

        def fill(handle: int) -> None:
            with path.open("rb") as source, os.fdopen(os.dup(handle), "wb") as file:
                shutil.copyfileobj(source, file, _CHUNK)

        return self._replace(key, fill, if_generation)

    def download_file(self, key: str, path: Path) -> int:
        """See `ObjectStore.download_file`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open(key) as source:
            generation = os.fstat(source.fileno()).st_mtime_ns
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    shutil.copyfileobj(source, file, _CHUNK)
                    os.fchmod(file.fileno(), 0o644)
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
        return generation

    def stat(self, key: str) -> ObjectInfo:
        """See `ObjectStore.stat`."""
        path = self._path(key)
        with self._explained(key):
            try:
                entry = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                raise self._missing(key) from None
            if not path.is_file():
                raise self._missing(key)
        return ObjectInfo(key, entry.st_size, entry.st_mtime_ns, entry.st_mtime)

    def list(self, prefix: str, *, name: str | None = None) -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        check_prefix(prefix)
        base = self.root / prefix
        with self._explained(prefix or "the registry"):
            if name is not None:
                check_key(name)
                keys = [f"{prefix}{folder}/{name}" for folder in _names(base)]
            else:
                keys = [f"{prefix}{key}" for key in _walk(base, hide=() if prefix else (_PRIVATE,))]
            for key in keys:
                # What vanished since, or never was an object of that name, is not listed.
                with contextlib.suppress(ObjectNotFoundError):
                    yield self.stat(key)

    def delete(self, key: str, *, if_generation: int | None = None) -> None:
        """See `ObjectStore.delete`."""
        path = self._path(key)
        with self._explained(key):
            if not self.root.is_dir():
                return
            with self._locked(key):
                self._demand(key, path, if_generation)
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    path.unlink()
                    _sync_directory(path.parent)
            # Object stores have no folders: an empty one must not look like a bundle's remains.
            for parent in path.parents:
                if parent == self.root:
                    break
                try:
                    parent.rmdir()
                except OSError:
                    break

    def sweep_temporary(self, older_than_s: float) -> int:
        """See `ObjectStore.sweep_temporary`."""
        swept = 0
        folder = self.root / _PRIVATE / "uploads"
        for name in _names(folder):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - (folder / name).stat().st_mtime > older_than_s:
                    (folder / name).unlink()
                    swept += 1
        return swept

    def _path(self, key: str) -> Path:
        check_key(key)
        if key.split("/", 1)[0] == _PRIVATE:
            raise InputError(f"key {key!r}: {_PRIVATE!r} belongs to the store itself")
        return self.root / key

    def _missing(self, key: str) -> ObjectNotFoundError:
        return ObjectNotFoundError(f"{self._uri}: there is no {key}")

    @contextlib.contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        """Turns what the operating system says into one line for people."""
        try:
            yield
        except PermissionError as error:
            raise ObjectStoreError(
                f"{self._uri}: no permission for {key} ({error.filename}); ask the registry's "
                "owner for access, or run as the user who has it"
            ) from None
        except OSError as error:
            raise ObjectStoreError(f"{self._uri}: {key}: {error.strerror or error}") from None

    @contextlib.contextmanager
    def _open(self, key: str) -> Iterator[BinaryIO]:
        path = self._path(key)
        with self._explained(key):
            try:
                file = path.open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise self._missing(key) from None
        with file, self._explained(key):
            yield file

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Holds the lock of the key's stripe; a killed holder's lock ends with its process."""
        folder = self.root / _PRIVATE / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{zlib.crc32(key.encode()) % _STRIPES:02d}"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            deadline = time.monotonic() + _LOCK_SECONDS
            pause = 0.001
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise ObjectStoreError(
                            f"{self._uri}: another process has held the lock {path} for "
                            f"{_LOCK_SECONDS:.0f} s; find it with `fuser {path}`"
                        ) from None
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
                pause = min(pause * 1.5, 0.02)
            yield
        finally:
            os.close(handle)

    def _demand(self, key: str, path: Path, if_generation: int | None) -> int:
        """Returns the current generation (0 for none) when it is the demanded one."""
        try:
            current = path.stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            current = ABSENT
        if if_generation is not None and current != if_generation:
            raise PreconditionFailedError(
                f"{self._uri}: {key} is at generation {current}, not at {if_generation}: "
                "somebody else has written it"
            )
        return current

    def _replace(self, key: str, fill: Callable[[int], None], if_generation: int | None) -> int:
        path = self._path(key)
        with self._explained(key):
            folder = self.root / _PRIVATE / "uploads"
            folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=folder)
            try:
                os.fchmod(handle, 0o644)
                fill(handle)
                os.fsync(handle)
                with self._locked(key):
                    current = self._demand(key, path, if_generation)
                    generation = _advance(handle, current)
                    _rename(temporary, path, root=self.root)
                return generation  # noqa: TRY300
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
            finally:
                os.close(handle)


def _advance(handle: int, current: int) -> int:
    """Gives the file a modification time after `current`; returns it as the file system keeps it.

    Some file systems keep coarser times than nanoseconds, hence the loop.
    """
    step = 1
    while True:
        wanted = max(time.time_ns(), current + step)
        os.utime(handle, ns=(wanted, wanted))
        kept = os.fstat(handle).st_mtime_ns
        if kept > current:
            return kept
        step *= 10


def _rename(temporary: str, path: Path, *, root: Path) -> None:
    while True:
        made = _make_parents(path.parent, root)
        try:
            os.replace(temporary, path)
        except FileNotFoundError:
            # A deletion next door has just removed the empty folder.
            if not Path(temporary).exists():
                raise
            continue
        for folder in (path.parent, *made):
            _sync_directory(folder)
        return


def _make_parents(folder: Path, root: Path) -> list[Path]:
    """Makes the folder; returns the folders whose entries changed by that."""
    changed: list[Path] = []
    for parent in (folder, *folder.parents):
        if parent.is_dir() or parent == root:
            break
        changed.append(parent.parent)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        # It was there, and a deleter took the empty folder away before mkdir could look at it: the
        # caller sees that it is gone and comes again. A file in its place is another matter.
        if folder.exists() and not folder.is_dir():
            raise
    return changed


def _sync_directory(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []


def _walk(base: Path, *, hide: tuple[str, ...]) -> list[str]:
    keys: list[str] = []
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            entries = list(os.scandir(base / prefix))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if not prefix and entry.name in hide:
                continue
            if entry.is_dir():
                pending.append(f"{prefix}{entry.name}/")
            else:
                keys.append(f"{prefix}{entry.name}")
    return sorted(keys)
