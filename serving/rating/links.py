"""Signed personal links, sessions and assignments: HMAC-SHA256 over JSON, nothing stored.

A token is `<payload>.<signature>`, both base64url without padding. Each purpose has a key of its
own, derived from the secret, so that a token for one cannot be used for another. The secret comes
from a file or the environment; it is never an argument of a command and never in a log.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.contracts.errors import InputError, LookalikeError

KEY_VARIABLE = "LOOKALIKE_RATING_KEY"
KEY_FILE_VARIABLE = "LOOKALIKE_RATING_KEY_FILE"
RATER, OWNER = "rater", "owner"
_LEAST_KEY = 32
_LONGEST_TOKEN = 2000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+:-]{0,99}")
_HOW = (
    f"make one with `lookalike rate key --out rating.key`, keep it as secret as a password, and "
    f"name it with --key-file or {KEY_FILE_VARIABLE} (or put its text into {KEY_VARIABLE})"
)


class BadTokenError(LookalikeError):
    """A token that nobody with the key has made, or whose time is over.

    Attributes:
        reason: `tampered` or `expired`.
    """

    def __init__(self, reason: str, text: str) -> None:
        """Keeps the reason beside the text for people."""
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Secrets:
    """The signing secret, and older ones that still verify while links made with them live.

    Attributes:
        keys: The first one signs; each verifies.
    """

    keys: tuple[bytes, ...]

    def __repr__(self) -> str:
        """Never shows a key, whatever prints this."""
        return f"Secrets({len(self.keys)} keys)"

    def sign(self, purpose: str, payload: Mapping[str, Any]) -> str:
        """Returns a token."""
        text = json.dumps(payload, separators=(",", ":"), sort_keys=True).encode()
        return f"{_encode(text)}.{_encode(self._mac(self.keys[0], purpose, text))}"

    def verify(self, purpose: str, token: str) -> dict[str, Any]:
        """Returns a token's payload.

        Raises:
            BadTokenError: It was not signed for this purpose with one of the keys.
        """
        payload, _, signature = token.partition(".")
        try:
            if len(token) > _LONGEST_TOKEN:
                raise ValueError
            text, given = _decode(payload), _decode(signature)
        except ValueError:
            raise BadTokenError("tampered", "this is not a whole link or form") from None
        # Every key is tried, so that the time taken says nothing.
        right = [hmac.compare_digest(given, self._mac(key, purpose, text)) for key in self.keys]
        if not any(right):
            raise BadTokenError("tampered", "the signature is not ours")
        value = json.loads(text)
        if not isinstance(value, dict):
            raise BadTokenError("tampered", "this is not a whole link or form")
        return value

    def name(self, purpose: str, *parts: str) -> str:
        """Returns a meaningless name of something, which only the key's holder can work out."""
        text = "\0".join(parts).encode()
        return _encode(self._mac(self.keys[0], purpose, text)[:18])

    @staticmethod
    def _mac(key: bytes, purpose: str, text: bytes) -> bytes:
        derived = hmac.digest(key, f"lookalike rating {purpose}".encode(), hashlib.sha256)
        return hmac.digest(derived, text, hashlib.sha256)


@dataclass(frozen=True)
class Pass:
    """What a personal link says.

    Attributes:
        role: `rater` or `owner`.
        name: Who.
        channel: The channel that it is for.
        campaign: The one campaign that it is for; empty for whichever runs in the channel.
        expires: Seconds since 1970.
    """

    role: str
    name: str
    channel: str
    campaign: str
    expires: float

    def token(self, keys: Secrets) -> str:
        """Returns the signed form, which is all that a link and a session consist of."""
        return keys.sign(
            "pass",
            {
                "r": self.role,
                "n": self.name,
                "c": self.channel,
                "k": self.campaign,
                "e": int(self.expires),
            },
        )

    @classmethod
    def read(cls, keys: Secrets, token: str, *, now: float) -> Pass:
        """Reads the signed form.

        Raises:
            BadTokenError: `tampered` or `expired`.
        """
        value = keys.verify("pass", token)
        try:
            found = cls(value["r"], value["n"], value["c"], value["k"], float(value["e"]))
        except (KeyError, TypeError, ValueError):
            raise BadTokenError("tampered", "this link lacks a part") from None
        if now >= found.expires:
            raise BadTokenError("expired", "this link's time is over: ask for a new one")
        return found


def check_name(name: str) -> str:
    """Returns a person's name when it can be one.

    Raises:
        InputError: It is empty, too long, or has other signs.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"--rater: expected up to 100 letters, digits and . _ @ + : - beginning with a letter "
            f"or digit, received {name[:120]!r}"
        )
    return name


def check_url(url: str) -> str:
    """Returns an address that links can begin with, without a slash at its end.

    Raises:
        InputError: It is not one.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        raise InputError(
            f"--url: expected an address such as https://rate.example.com, received {url!r}"
        )
    return url.rstrip("/")


def new_key() -> str:
    """Returns a fresh secret: 32 random bytes as hexadecimal text."""
    return secrets.token_hex(32)


def load_secrets(key_file: Path | None = None) -> Secrets:
    """Returns the secrets of a file, or of the file or the text that the environment names.

    A file holds one secret a line; the first signs, all verify, so that a key can be replaced
    while links made with the old one live.

    Raises:
        InputError: There is none, it cannot be read, or it is too short.
    """
    if key_file is None and os.environ.get(KEY_FILE_VARIABLE):
        key_file = Path(os.environ[KEY_FILE_VARIABLE])
    if key_file is not None:
        try:
            text = key_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise InputError(f"{key_file}: there is no such key file; {_HOW}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{key_file}: the key file cannot be read ({error})") from None
        source = str(key_file)
    else:
        text, source = os.environ.get(KEY_VARIABLE, ""), KEY_VARIABLE
        if not text:
            raise InputError(f"links are signed with a secret key, and none is set; {_HOW}")
    keys = tuple(line.strip().encode() for line in text.splitlines() if line.strip())
    if not keys or any(len(key) < _LEAST_KEY for key in keys):
        raise InputError(
            f"{source}: expected secrets of at least {_LEAST_KEY} characters, one a line; {_HOW}"
        )
    return Secrets(keys)


def parse_duration(text: str) -> float:
    """Returns the seconds in a text such as `90m`, `72h` or `14d`.

    Raises:
        InputError: It is not one, or longer than 90 days.
    """
    found = re.fullmatch(r"(\d{1,6})([mhd])", text.strip())
    seconds = int(found[1]) * {"m": 60, "h": 3600, "d": 86400}[found[2]] if found else 0
    if not 0 < seconds <= 90 * 86400:
        raise InputError(
            f"--expires: expected a time such as 90m, 72h or 14d, at most 90d; received {text!r}"
        )
    return float(seconds)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError from None
    if _encode(data) != text:
        # Spare bits at the end could be changed without changing the signature.
        raise ValueError
    return data
