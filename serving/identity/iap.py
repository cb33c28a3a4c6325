"""Google's Identity-Aware Proxy: who a signed assertion says is asking.

The header `X-Goog-IAP-JWT-Assertion` holds a JWT signed with ES256
(https://cloud.google.com/iap/docs/signed-headers-howto). google-auth, which the object store
brings along, checks signature, times and audience; Google's keys are fetched in the background.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from serving import log

HEADER = "x-goog-iap-jwt-assertion"
KEYS_URL = "https://www.gstatic.com/iap/verify/public_key"
ISSUER = "https://cloud.google.com/iap"
_REFRESH_SECONDS = 3600.0
_AGAIN_SECONDS = 30.0
_TIMEOUT_SECONDS = 10.0
_LARGEST = 1024 * 1024


class KeysUnavailableError(Exception):
    """No key that could check the assertion is at hand yet."""


def fetch_keys() -> dict[str, str]:
    """Returns Google's public keys by their id, in PEM."""
    with urllib.request.urlopen(KEYS_URL, timeout=_TIMEOUT_SECONDS) as answer:
        content = json.loads(answer.read(_LARGEST))
    return {str(name): str(key) for name, key in content.items()}


class IapVerifier:
    """Checks assertions; never waits for the network."""

    def __init__(
        self,
        audience: str,
        *,
        fetch: Callable[[], Mapping[str, str]] = fetch_keys,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins to fetch the keys.

        Args:
            audience: What the assertion must be meant for, such as
                `/projects/123/global/backendServices/456`.
            fetch: Returns public keys in PEM by id; blocks.
            clock: Seconds; for tests.
        """
        self._audience = audience
        self._fetch = fetch
        self._clock = clock
        self._keys: Mapping[str, str] = {}
        self._fetched = -_REFRESH_SECONDS
        self._tried = -_REFRESH_SECONDS
        self._running = threading.Lock()
        self.refresh()

    def email(self, assertion: str) -> str:
        """Returns whom the assertion names; empty when it is not good.

        Raises:
            KeysUnavailableError: It may be good, but no key is at hand to tell.
        """
        # Loaded here: only servers behind that proxy need it.
        from google.auth import exceptions, jwt  # noqa: PLC0415

        try:
            header: dict[str, Any] = jwt.decode_header(assertion)
        except (ValueError, exceptions.GoogleAuthError):
            return ""
        # Whatever the assertion says of itself, ES256 it must be.
        if header.get("alg") != "ES256":
            return ""
        now = self._clock()
        known = header.get("kid") in self._keys
        if not known or now - self._fetched > _REFRESH_SECONDS:
            self.refresh()
        if not known:
            if not self._keys:
                raise KeysUnavailableError
            return ""
        try:
            claims: Mapping[str, Any] = jwt.decode(
                assertion, certs=dict(self._keys), audience=self._audience
            )
        except (ValueError, exceptions.GoogleAuthError):
            return ""
        if claims.get("iss") != ISSUER:
            return ""
        return str(claims.get("email", "")).removeprefix("accounts.google.com:")

    def refresh(self) -> None:
        """Fetches the keys in a thread, unless it was tried just now."""
        if self._clock() - self._tried < _AGAIN_SECONDS or not self._running.acquire(
            blocking=False
        ):
            return
        self._tried = self._clock()
        threading.Thread(target=self._refresh, name="iap-keys", daemon=True).start()

    def _refresh(self) -> None:
        try:
            self._keys = self._fetch()
            self._fetched = self._clock()
        except (OSError, ValueError, AttributeError) as error:
            log.event("IAP's keys cannot be fetched", level=logging.ERROR, reason=str(error))
        finally:
            self._running.release()
