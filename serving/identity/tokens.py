"""Bearer tokens: a file of names, rights and secrets, read again when it changes.

    # name            may                  secret
    ada@shop.example  operate              sha256:2c26b46b68ffc68ff99b453c1d304134...
    prometheus        metrics              Qm9iIGlzIG5vdCB5b3VyIHVuY2xl
    shop-backend      search,withdraw      sha256:fcde2b2edba56bf408601fb721fe9b5c...

A secret may stand there as its SHA-256: tokens are long and random, so a plain hash is enough,
and whoever reads the file then learns none.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.contracts.errors import InputError
from serving import log
from serving.identity.principal import RIGHTS, Principal, Right

FILE_VARIABLE = "LOOKALIKE_TOKEN_FILE"
TOKEN_VARIABLE = "LOOKALIKE_TOKEN"  # noqa: S105 - the variable's name.
SHORTEST = 20
LONGEST = 512
_LOOK_AGAIN_SECONDS = 5.0
_SECRET = re.compile(rf"[\x21-\x7e]{{{SHORTEST},{LONGEST}}}")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")


def digest(token: str) -> str:
    """Returns a token's SHA-256 in hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def parse(text: str, *, source: str) -> tuple[Principal, ...]:
    """Reads a token file's lines.

    Raises:
        InputError: A line is not a name, rights and a secret, or a name or secret comes twice.
            The message names the line and never the secret.
    """
    found: list[Principal] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{source}: line {number}"
        words = line.split()
        if len(words) != 3:
            raise InputError(
                f"{where}: expected a name, what it may do and a secret, received "
                f"{len(words)} words"
            )
        name, rights, secret = words
        if not _NAME.fullmatch(name):
            raise InputError(f"{where}: expected a name of letters, digits and . _ @ + -")
        entry = Principal(name, _rights(rights, where), "token", _digest(secret, where))
        if any(other.name == name or other.token == entry.token for other in found):
            raise InputError(f"{where}: this name or this secret stands on an earlier line, too")
        found.append(entry)
    return tuple(found)


def _rights(text: str, where: str) -> frozenset[Right]:
    given = text.split(",")
    known = [right for right in RIGHTS if right in given]
    if len(known) != len(given):
        raise InputError(
            f"{where}: expected some of {', '.join(RIGHTS)} with commas between and no spaces, "
            f"received {text!r}"
        )
    return frozenset(known)


def _digest(secret: str, where: str) -> str:
    if hashed := _HASH.fullmatch(secret):
        return hashed[1]
    if secret.startswith("sha256:"):
        raise InputError(f"{where}: expected 64 lower-case hexadecimal digits after sha256:")
    if not _SECRET.fullmatch(secret):
        raise InputError(
            f"{where}: expected a secret of {SHORTEST} to {LONGEST} visible ASCII characters, "
            f"received {len(secret)} (openssl rand -hex 24 makes one)"
        )
    return digest(secret)


@dataclass(frozen=True)
class _Seen:
    entries: tuple[Principal, ...]
    stamp: tuple[int, int, int]
    looked: float


class Tokens:
    """The tokens that are good now."""

    def __init__(
        self,
        file: Path | None,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads them.

        Args:
            file: The token file; None for none.
            environment: Where `LOOKALIKE_TOKEN` may name one operator's token.
            clock: Seconds; for tests.

        Raises:
            InputError: The file cannot be read, or holds something else.
        """
        self._file = file
        self._clock = clock
        self._fixed: tuple[Principal, ...] = ()
        if token := environment.get(TOKEN_VARIABLE, "").strip():
            secret = _digest(token, TOKEN_VARIABLE)
            self._fixed = (Principal("operator", frozenset({"operate"}), "token", secret),)
        self._seen = _Seen((), (0, 0, 0), clock())
        if file is not None:
            self._seen = self._read(file)

    def entries(self) -> tuple[Principal, ...]:
        """Returns everybody who has a token; looks at the file every few seconds.

        A file that has become unreadable changes nothing: it is logged, and what was read last
        stays good, so that a slip of the editor locks nobody out.
        """
        if self._file is not None and self._clock() - self._seen.looked > _LOOK_AGAIN_SECONDS:
            self._look_again(self._file)
        return (*self._fixed, *self._seen.entries)

    def find(self, token: str) -> Principal | None:
        """Returns who has this token; takes as long for a wrong one as for a right one."""
        given = digest(token).encode()
        found: Principal | None = None
        for entry in self.entries():
            if hmac.compare_digest(entry.token.encode(), given):
                found = entry
        return found

    def _look_again(self, file: Path) -> None:
        try:
            if _stamp(file) == self._seen.stamp:
                self._seen = _Seen(self._seen.entries, self._seen.stamp, self._clock())
                return
            self._seen = self._read(file)
        except (InputError, OSError) as error:
            log.event(
                "token file cannot be read; the tokens read before stay good",
                level=logging.ERROR,
                reason=str(error),
            )
            self._seen = _Seen(self._seen.entries, self._seen.stamp, self._clock())
        else:
            log.event("token file read again", tokens=len(self._seen.entries))

    def _read(self, file: Path) -> _Seen:
        try:
            stamp = _stamp(file)
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"token file {file}: cannot be read ({error})") from None
        return _Seen(parse(text, source=f"token file {file}"), stamp, self._clock())


def _stamp(file: Path) -> tuple[int, int, int]:
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
