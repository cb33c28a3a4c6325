"""Signed-in browsers: one cookie that names who it is, and the tokens in forms.

Nothing is kept on the server. A cookie carries a name, a fingerprint of the token that was used,
and an end; all under an HMAC. A session ends when its token is taken out of the file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path

from components.contracts.errors import InputError
from serving.identity.principal import Principal

KEY_VARIABLE = "LOOKALIKE_SESSION_KEY_FILE"
_SHARED_VARIABLE = "LOOKALIKE_SESSION_KEY"
_SHORTEST_KEY = 32


def share_key(environment: MutableMapping[str, str] = os.environ) -> None:
    """Makes a key for the processes that this one starts, where nobody has named a file."""
    environment.setdefault(_SHARED_VARIABLE, secrets.token_hex(32))


def read_key(file: Path | None, environment: Mapping[str, str] = os.environ) -> bytes:
    """Returns the key that cookies are signed with.

    Args:
        file: Where it is; None for the one that `share_key` has made, or else a fresh one.
        environment: Where that one is.

    Raises:
        InputError: The file cannot be read or is shorter than 32 bytes.
    """
    if file is None:
        return environment.get(_SHARED_VARIABLE, "").encode() or os.urandom(32)
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise InputError(f"session key {file}: cannot be read ({error.strerror})") from None
    if len(key) < _SHORTEST_KEY:
        raise InputError(
            f"session key {file}: expected at least {_SHORTEST_KEY} bytes, received {len(key)} "
            "(openssl rand -hex 32 makes one)"
        )
    return key


@dataclass(frozen=True)
class Session:
    """A signed-in browser.

    Attributes:
        principal: Who it is.
        nonce: Random; what its forms are bound to.
    """

    principal: Principal
    nonce: str


class Sessions:
    """Makes and checks cookies and form tokens."""

    def __init__(
        self, key: bytes, *, seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Keeps the key.

        Args:
            key: What everything is signed with; servers behind one address share it.
            seconds: How long a session lasts.
            clock: Seconds since 1970; for tests.
        """
        self._key = key
        self._seconds = seconds
        self._clock = clock

    def open(self, principal: Principal) -> str:
        """Returns the cookie of a new session."""
        content = {
            "name": principal.name,
            "token": self._fingerprint(principal.token),
            "until": int(self._clock() + self._seconds),
            "nonce": secrets.token_urlsafe(16),
        }
        body = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
        return f"{body}.{self._sign('session', body)}"

    def read(self, cookie: str, tokens: Iterable[Principal]) -> Session | None:
        """Returns the session of a cookie; None when it is not ours, over, or its token is gone.

        Args:
            cookie: What the browser sent.
            tokens: Whose tokens are good now; the rights are taken from here.
        """
        body, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self._sign("session", body).encode(), _ascii(signature)):
            return None
        try:
            content = json.loads(base64.urlsafe_b64decode(body))
        except (ValueError, binascii.Error):
            return None
        if content["until"] < self._clock():
            return None
        for entry in tokens:
            if entry.name == content["name"] and self._fingerprint(entry.token) == content["token"]:
                return Session(replace(entry, means="session"), content["nonce"])
        return None

    def form_token(self, nonce: str, name: str) -> str:
        """Returns what a form must send back: bound to the browser by `nonce`, and to a name."""
        return self._sign("form", f"{nonce}\n{name}")

    def check_form(self, nonce: str, name: str, token: str) -> bool:
        """Whether a form was made for this browser and this name."""
        expected = self.form_token(nonce, name).encode()
        return bool(nonce) and hmac.compare_digest(expected, _ascii(token))

    def _fingerprint(self, token: str) -> str:
        return self._sign("token", token)[:32]

    def _sign(self, purpose: str, text: str) -> str:
        message = f"{purpose}\0{text}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()


def _ascii(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
