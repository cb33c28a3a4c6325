"""Files that a step keeps for its next run: each under its SHA-256, the list of them written last.

What is kept saves time and decides nothing: a file that is gone, damaged or half-written is not
handed out, and whoever wanted it computes it again. So no failure of the store stops a step.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import sha256_bytes
from components.registry.object_store import ObjectNotFoundError, ObjectStore, ObjectStoreError

_LIST = "list.json"
_FORMAT = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
# Lists of one kind that stay: a live encoder, the next one, and one of another channel or two.
_LISTS_KEPT = 4
# A file that no list names may belong to a run that has not ended yet.
_GRACE_SECONDS = 6 * 3600.0


@dataclass(frozen=True)
class KeptFile:
    """One kept file.

    Attributes:
        sha256: Of its bytes; also its name in the store.
        size: In bytes.
        about: What the step wants to know of it without reading it.
    """

    sha256: str
    size: int
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class KeptList:
    """What a run left for the next one.

    Attributes:
        files: The files, in the order that they were published in.
        about: Figures of that run, such as its rate.
    """

    files: tuple[KeptFile, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


class Kept:
    """What one kind of step keeps under one key.

    Everything lies below `reuse/<kind>/<key>/`; the key names all that the files' content hangs on
    beside the catalog (an encoder, a preprocessing graph, limits).
    """

    def __init__(self, store: ObjectStore, *, kind: str, key: str) -> None:
        """Touches nothing yet.

        Args:
            store: The registry's store.
            kind: The kind of step.
            key: What the content hangs on, as a digest.

        Raises:
            InputError: Kind or key are no plain names.
        """
        for name in (kind, key):
            if not _NAME.fullmatch(name):
                raise InputError(f"kept files: expected a plain name, received {name!r}")
        self._store = store
        self._kind = f"reuse/{kind}/"
        self._prefix = f"{self._kind}{key}/"
        self.failures: list[str] = []
        """What could not be read or kept, in words; each is one more thing to compute."""

    def read(self) -> KeptList:
        """Returns the published list; an empty one when there is none that can be read."""
        try:
            value = json.loads(self._store.read(self._prefix + _LIST)[0])
            if value["format"] != _FORMAT:
                return KeptList()
            files = tuple(KeptFile(**entry) for entry in value["files"])
            return KeptList(files, dict(value["about"]))
        except ObjectNotFoundError:
            return KeptList()
        except (LookalikeError, ValueError, KeyError, TypeError) as error:
            self.failures.append(f"{self._prefix}{_LIST}: cannot be read ({error})")
            return KeptList()

    def fetch(self, file: KeptFile) -> bytes | None:
        """Returns a file's bytes; None, with a line in `failures`, when it is not whole."""
        key = self._file_key(file.sha256)
        try:
            data = self._store.read(key)[0]
        except LookalikeError as error:
            self.failures.append(str(error))
            return None
        if sha256_bytes(data) != file.sha256:
            self.failures.append(f"{key}: its bytes have another SHA-256; it is computed again")
            return None
        return data

    def put(self, data: bytes, about: Mapping[str, Any]) -> KeptFile | None:
        """Stores a file; the next run sees it once a list names it. None when it cannot be."""
        file = KeptFile(sha256_bytes(data), len(data), about)
        try:
            self._store.write(self._file_key(file.sha256), data)
        except LookalikeError as error:
            self.failures.append(str(error))
            return None
        return file

    def publish(
        self,
        files: Sequence[KeptFile],
        about: Mapping[str, Any],
        *,
        now: float | None = None,
    ) -> bool:
        """Writes the list, then removes what no list of the kind names any more.

        Args:
            files: All that the next run may use; files of the last list that are not among them
                stay until the publication after this one, for a run that reads them right now.
            about: Figures for the next run.
            now: Seconds since 1970; the clock's when None.

        Returns:
            Whether the list was written.
        """
        before = {file.sha256 for file in self.read().files}
        value = {
            "format": _FORMAT,
            "files": [asdict(file) for file in files],
            "about": dict(about),
        }
        text = json.dumps(value, sort_keys=True, allow_nan=False)
        try:
            self._store.write(self._prefix + _LIST, text.encode())
            self._collect(before | {file.sha256 for file in files}, now or time.time())
        except ObjectStoreError as error:
            self.failures.append(str(error))
            return False
        return True

    def _collect(self, named: set[str], now: float) -> None:
        for info in list(self._store.list(f"{self._prefix}files/")):
            unnamed = info.key.rsplit("/", 1)[1] not in named
            if unnamed and now - info.updated > _GRACE_SECONDS:
                self._store.delete(info.key)
        lists = sorted(
            self._store.list(self._kind, name=_LIST), key=lambda info: info.updated, reverse=True
        )
        for old in lists[_LISTS_KEPT:]:
            # The list first: what is left of the files then belongs to nothing.
            self._store.delete(old.key)
            for info in list(self._store.list(old.key.removesuffix(_LIST))):
                self._store.delete(info.key)

    def _file_key(self, sha256: str) -> str:
        return f"{self._prefix}files/{sha256}"
