"""Where the registry keeps its bytes: one contract, a local directory or Google Cloud Storage.

A key is a path of plain segments such as `channels/prod.json`. Every object has a generation, a
positive number that changes with each write; a write may demand the generation that it replaces,
which is the compare-and-swap that everything above rests on. Generations are compared for
equality only: order is the business of whoever writes the objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from components.contracts.errors import InputError, LookalikeError

ABSENT = 0
"""The generation to demand of an object that must not exist yet."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ObjectStoreError(LookalikeError):
    """The store could not do what it was asked; nothing was changed."""


class ObjectNotFoundError(ObjectStoreError):
    """There is no such object."""


class PreconditionFailedError(ObjectStoreError):
    """The object is not at the demanded generation; it was not written."""


class RateLimitedError(ObjectStoreError):
    """The store refused for now because of too many requests; nothing was written."""


class OutcomeUnknownError(ObjectStoreError):
    """The answer was lost: a write may or may not have taken effect, or may do so yet."""


@dataclass(frozen=True)
class ObjectInfo:
    """One object in a listing.

    Attributes:
        key: Its whole key.
        size: In bytes.
        generation: See the module's text.
        updated: When it was written, in seconds since 1970, by the store's clock.
    """

    key: str
    size: int
    generation: int
    updated: float


class ObjectStore(Protocol):
    """What every store can do. Keys are checked with `check_key`."""

    @property
    def uri(self) -> str:
        """What a person typed to name the store."""

    def read(self, key: str) -> tuple[bytes, int]:
        """Returns an object's bytes and generation, which belong together.

        Raises:
            ObjectNotFoundError: There is none.
        """

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """Yields an object's bytes piece by piece: for sums over what does not fit in memory."""

    def write(self, key: str, data: bytes, *, if_generation: int | None = None) -> int:
        """Writes a whole object; no reader ever sees a part of it.

        Args:
            key: The object.
            data: Its new bytes.
            if_generation: The generation it must have; `ABSENT` when it must not exist; None to
                write whatever is there.

        Returns:
            The new generation.

        Raises:
            PreconditionFailedError: It is at another generation.
            RateLimitedError: Not written; try again later.
            OutcomeUnknownError: Perhaps written: read it to find out.
        """

    def stat(self, key: str) -> ObjectInfo:
        """Returns what a listing says about one object.

        Raises:
            ObjectNotFoundError: There is none.
        """

    def list(self, prefix: str, *, name: str | None = None) -> Iterator[ObjectInfo]:
        """Yields the objects whose keys start with `prefix`, ordered by key.

        Args:
            prefix: Empty, or whole segments that end with a slash.
            name: Only objects `<prefix><one segment>/<name>`: finds every bundle's manifest
                without walking the bundles.
        """

    def delete(self, key: str, *, if_generation: int | None = None) -> None:
        """Deletes an object; one that is gone already is no error.

        Raises:
            PreconditionFailedError: It is at another generation.
        """

    def upload_file(self, path: Path, key: str, *, if_generation: int | None = None) -> int:
        """Writes a file's content; as `write`, but never holds all of it in memory."""

    def download_file(self, key: str, path: Path) -> int:
        """Writes an object's content to a file, whole or not at all; returns the generation.

        Raises:
            ObjectNotFoundError: There is no such object.
        """

    def sweep_temporary(self, older_than_s: float) -> int:
        """Removes what killed writers left of unfinished objects; returns how many files.

        Args:
            older_than_s: Only what was last written longer ago than this, in seconds.
        """


def check_key(key: str) -> str:
    """Returns the key when it is one.

    Raises:
        InputError: It is empty, has empty, `.` or `..` segments, backslashes or control characters.
    """
    if (
        not key
        or "\\" in key
        or _CONTROL.search(key)
        or any(part in ("", ".", "..") for part in key.split("/"))
    ):
        raise InputError(
            f"key {key!r}: expected segments joined by '/', none of them empty, '.' or '..', "
            "without backslashes and control characters"
        )
    return key


def check_prefix(prefix: str) -> str:
    """Returns the prefix when it is empty or a key with a slash at its end."""
    if prefix:
        if not prefix.endswith("/"):
            raise InputError(f"prefix {prefix!r}: expected a '/' at its end")
        check_key(prefix[:-1])
    return prefix


def open_store(uri: str) -> ObjectStore:
    """Opens a store without touching it.

    Args:
        uri: A local path, `file:///path`, or `gs://bucket/prefix`.

    Raises:
        InputError: The URI is empty, of another scheme, or names a file.
    """
    if not uri or _CONTROL.search(uri):
        raise InputError(f"registry {uri!r}: expected a path, file:///path or gs://bucket/prefix")
    if uri.startswith("gs://"):
        # Loaded here: importing Google's client takes half a second that local use must not pay.
        from components.registry.gcs_store import GcsStore  # noqa: PLC0415

        return GcsStore.open(uri)
    from components.registry.local_store import LocalStore  # noqa: PLC0415

    if uri.startswith("file:"):
        from urllib.parse import unquote, urlsplit  # noqa: PLC0415

        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise InputError(f"registry {uri!r}: expected file:///absolute/path")
        return LocalStore(Path(unquote(parts.path)), uri=uri)
    if "://" in uri:
        raise InputError(
            f"registry {uri!r}: the scheme {uri.split('://', 1)[0]!r} is not known; expected a "
            "path, file:///path or gs://bucket/prefix"
        )
    return LocalStore(Path(uri).expanduser(), uri=uri)
