"""Reads a file over http(s) from an address that a table names, and that nobody vouches for.

Whoever writes the catalog could otherwise make the step ask the cloud's metadata server, a machine
of the private network, or a server that never ends its answer. So: every address that a name
resolves to is checked and the connection goes to the checked address (a second look-up could give
another), at each redirect anew; time and bytes are bounded while they stream; nothing but a plain
GET is sent, with no credentials, no cookies and through no proxy.
"""

from __future__ import annotations

import email.utils
import http.client
import io
import os
import random
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urljoin

from components.contracts.errors import SetAsideError
from components.contracts.web_addresses import (
    PRIVATE_NETWORKS,
    Network,
    checked_addresses,
    private_networks,
    shown_uri,
    split_web,
)
from components.contracts.web_hosts import Hosts

_REDIRECTS = (301, 302, 303, 307, 308)
_GONE = (404, 410)
_RETRIED = (408, 425, 429)
_CHUNK = 1 << 16
_HOSTS = Hosts()


@dataclass(frozen=True)
class WebLimits:
    """How patient the reader is.

    Attributes:
        attempt_s: Longest time of one try, redirects, headers and body together, in seconds.
        total_s: No try and no wait goes beyond this after the first began, in seconds.
        attempts: Most tries.
        redirects: Most redirects of one try.
        first_wait_s: Upper bound of the wait after the first try, in seconds; doubled each time.
            Jitter is full: readers that failed together must not come back together.
        longest_wait_s: Largest upper bound of a wait, in seconds; a server that asks for more by
            Retry-After is given up.
        private_networks: Networks that are allowed though they are private, loopback or reserved.
    """

    attempt_s: float = 15.0
    total_s: float = 45.0
    attempts: int = 4
    redirects: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 15.0
    private_networks: tuple[Network, ...] = ()

    @classmethod
    def from_environment(cls) -> WebLimits:
        """Returns the defaults with the private networks that the environment allows.

        Raises:
            InputError: What the environment says is no list of networks.
        """
        return cls(private_networks=private_networks(os.environ.get(PRIVATE_NETWORKS, "")))


class _TryAgainError(Exception):
    """A try that failed in a way that another may not; `wait_s` is what the server asked for."""

    def __init__(self, detail: str, wait_s: float | None = None) -> None:
        super().__init__(detail)
        self.wait_s = wait_s


def read_web(
    uri: str,
    max_bytes: int,
    limits: WebLimits | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    hosts: Hosts = _HOSTS,
) -> bytes:
    """Reads what an http(s) address holds.

    Args:
        uri: The address.
        max_bytes: Largest size, in bytes; nothing is read beyond it.
        limits: How patient to be; None: the defaults and the environment's networks.
        sleep: What waits between tries.
        hosts: Which servers gave nothing lately; such a one is not asked.

    Raises:
        SetAsideError: `missing_image` (404, 410), `unreachable_image` (no whole answer after all
            tries), `refused_address` (private, or no plain http(s)), `unreadable_image` (any other
            answer) or `too_many_bytes`.
    """
    limits = limits or WebLimits.from_environment()
    _, host, port, _ = split_web(uri)
    server = f"{host}:{port}"
    if failed := hosts.failures(server):
        raise SetAsideError(
            "unreachable_image",
            f"{shown_uri(uri)}: not asked for, {server} gave none of the {failed} images before it",
        )
    end = time.monotonic() + limits.total_s
    bound = limits.first_wait_s
    problem = ""
    for number in range(limits.attempts):
        deadline = min(time.monotonic() + limits.attempt_s, end)
        try:
            data = _follow(uri, max_bytes, limits, deadline)
        except SetAsideError:
            hosts.answered(server)
            raise
        except _TryAgainError as error:
            problem = str(error)
            wait = random.uniform(0.0, bound)  # noqa: S311
            if error.wait_s is not None:
                if error.wait_s > limits.longest_wait_s:
                    break
                wait += error.wait_s
        else:
            hosts.answered(server)
            return data
        bound = min(bound * 2, limits.longest_wait_s)
        if number == limits.attempts - 1 or time.monotonic() + wait >= end:
            break
        sleep(wait)
    hosts.gave_nothing(server)
    raise SetAsideError(
        "unreachable_image",
        f"{shown_uri(uri)}: expected an image within {limits.total_s:g} s, {problem} "
        f"(tried {number + 1} times)",
    )


def _follow(uri: str, max_bytes: int, limits: WebLimits, deadline: float) -> bytes:
    """One try: the answer after all redirects."""
    here = uri
    for _ in range(limits.redirects + 1):
        answer = _ask(here, max_bytes, limits, deadline)
        if isinstance(answer, bytes):
            return answer
        try:
            here = urljoin(here, answer)
        except ValueError:
            raise SetAsideError(
                "refused_address", f"{shown_uri(uri)}: redirects to what is no address"
            ) from None
    raise SetAsideError(
        "unreadable_image",
        f"{shown_uri(uri)}: expected at most {limits.redirects} redirects, received more",
    )


def _ask(uri: str, max_bytes: int, limits: WebLimits, deadline: float) -> bytes | str:
    """Returns the body of an answer, or where it redirects to."""
    secure, host, port, target = split_web(uri)
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    try:
        connection: Any = kind(f"[{host}]" if ":" in host else host, port)
    except http.client.InvalidURL:
        raise SetAsideError(
            "refused_address", f"{shown_uri(uri)}: expected an http(s) address"
        ) from None
    try:
        addresses = checked_addresses(uri, host, port, limits.private_networks, deadline)
        line = _Line(_connected(addresses, host if secure else None, deadline), deadline)
    except OSError as error:
        raise _TryAgainError(_why(error)) from None
    connection.sock = line
    try:
        connection.putrequest("GET", target, skip_accept_encoding=True)
        connection.putheader("User-Agent", "lookalike")
        connection.putheader("Accept", "image/*,*/*;q=0.1")
        connection.putheader("Accept-Encoding", "identity")
        connection.putheader("Connection", "close")
        connection.endheaders()
        with connection.getresponse() as response:
            return _answer(uri, response, max_bytes)
    except (OSError, http.client.HTTPException) as error:
        raise _TryAgainError(_why(error)) from None
    except ValueError as error:
        if isinstance(error, SetAsideError):
            raise
        raise SetAsideError(
            "unreadable_image", f"{shown_uri(uri)}: the server's answer is not HTTP"
        ) from None
    finally:
        connection.close()
        line.hang_up()


def _answer(uri: str, response: http.client.HTTPResponse, max_bytes: int) -> bytes | str:
    status = response.status
    location = response.headers.get("Location")
    if status in _REDIRECTS and location:
        return location
    if status in _GONE:
        raise SetAsideError(
            "missing_image", f"{shown_uri(uri)}: expected an image, received HTTP {status}"
        )
    if status in _RETRIED or status >= 500:
        raise _TryAgainError(
            f"received HTTP {status}", _retry_after(response.headers.get("Retry-After"))
        )
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if status != 200 or encoding not in ("", "identity"):
        found = f"HTTP {status}" if status != 200 else f"the encoding {encoding[:20]!r}"
        raise SetAsideError(
            "unreadable_image", f"{shown_uri(uri)}: expected an image, received {found}"
        )
    expected = response.length  # None: chunked, or until the connection ends.
    data = bytearray()
    while (expected or 0) <= max_bytes and len(data) <= max_bytes:
        piece = response.read(min(_CHUNK, max_bytes + 1 - len(data)))
        if not piece:
            break
        data += piece
    if (expected or 0) > max_bytes or len(data) > max_bytes:
        raise SetAsideError(
            "too_many_bytes",
            f"{shown_uri(uri)}: expected at most {max_bytes} bytes, the server sends more",
        )
    if expected is not None and len(data) < expected:
        raise _TryAgainError(f"received {len(data)} of {expected} bytes")
    return bytes(data)


def _connected(addresses: Sequence[tuple[str, int]], tls_host: str | None, deadline: float) -> Any:
    """Connects to the first address that answers; the certificate is checked against the name."""
    last: OSError = OSError("no address")
    for number, address in enumerate(addresses):
        # An address that swallows everything leaves time for those after it.
        share = _left(deadline) / (len(addresses) - number)
        try:
            plain = socket.create_connection(address, timeout=share)
        except OSError as error:
            last = error
            continue
        if tls_host is None:
            return plain
        try:
            plain.settimeout(_left(deadline))
            return _tls().wrap_socket(plain, server_hostname=tls_host)
        except BaseException:
            plain.close()
            raise
    raise last


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Line:
    """A connected socket as http.client uses one, with one deadline for all that it does.

    A socket's own time-out starts anew with each byte: a server that sends one every few seconds
    would hold the reader for ever.
    """

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket = connected
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(_left(self._deadline))
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._socket, self._deadline), _CHUNK)

    def close(self) -> None:
        """Does nothing: http.client closes its end of the line before it reads the body."""

    def hang_up(self) -> None:
        self._socket.close()


class _Incoming(io.RawIOBase):
    """What arrives, until the deadline."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket = connected
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(_left(self._deadline))
        return self._socket.recv_into(buffer)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "the server did not answer in time"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer was cut short"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be reached ({error.strerror})"
    return f"it cannot be reached ({type(error).__name__})"


def _retry_after(text: str | None) -> float | None:
    """Returns the seconds that a Retry-After header asks for."""
    if not text:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        then = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(then - time.time(), 0.0)
