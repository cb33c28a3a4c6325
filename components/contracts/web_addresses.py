"""Which web addresses images may come from: public ones, and the networks that are named.

A name is no proof: it may resolve to this machine, to the private network or to the cloud's
metadata server. What is checked here is what the reader connects to.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Sequence
from functools import cache
from urllib.parse import quote, urlsplit

from components.contracts.errors import InputError, SetAsideError

# Networks (CIDR, commas between) that images may come from though they are private.
PRIVATE_NETWORKS = "LOOKALIKE_PRIVATE_IMAGE_NETWORKS"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def shown_uri(uri: str) -> str:
    """Returns a URI for people: without the credentials that a web address may hold.

    User names, passwords and what follows `?` (signatures) are left out.
    """
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "an address that cannot be read" if "://" in uri else uri
    if parts.scheme not in ("http", "https"):
        return uri
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?...' if parts.query else ''}"


def split_web(uri: str) -> tuple[bool, str, int, str]:
    """Returns whether it is https, the host, the port, and the path with its query.

    Raises:
        SetAsideError: `refused_address`: another scheme, credentials, or no address at all.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except ValueError:
        raise SetAsideError(
            "refused_address", f"{shown_uri(uri)}: expected an http(s) address"
        ) from None
    if parts.scheme not in ("http", "https") or not host:
        raise SetAsideError(
            "refused_address",
            f"{shown_uri(uri)}: expected an http(s) address, received "
            f"{parts.scheme or 'no scheme'}"[:300],
        )
    if "@" in parts.netloc:
        raise SetAsideError(
            "refused_address",
            f"{shown_uri(uri)}: expected an address without user name or password",
        )
    secure = parts.scheme == "https"
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    # What is already quoted stays; blanks and other letters become what HTTP can carry.
    target = quote(target, safe="/%:=&?~+!$,;'@()*[]-._#")
    return secure, host, port or (443 if secure else 80), target


def checked_addresses(
    uri: str, host: str, port: int, allowed: Sequence[Network], deadline: float
) -> list[tuple[str, int]]:
    """Returns the (address, port) pairs of a host; one that is refused refuses the host.

    Args:
        uri: For the message.
        host: A name, or an address in any spelling that the system takes.
        port: The port.
        allowed: Networks that are allowed though they are not public.
        deadline: When to give up, in seconds of `time.monotonic`.

    Raises:
        SetAsideError: `refused_address`.
        OSError: The name does not resolve, or not in time.
    """
    addresses: list[tuple[str, int]] = []
    for text in _resolve(host, port, deadline):
        address = ipaddress.ip_address(text.partition("%")[0])
        if not is_public(address) and not any(address in network for network in allowed):
            raise SetAsideError(
                "refused_address",
                f"{shown_uri(uri)}: expected a public address, {host} is {address}; if images may "
                f"come from there, name its network in {PRIVATE_NETWORKS}",
            )
        if (text, port) not in addresses:
            addresses.append((text, port))
    return addresses


def _resolve(host: str, port: int, deadline: float) -> list[str]:
    """Asks the system's resolver, which knows no time-out of ours, in a thread of its own."""
    answers: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put([str(entry[4][0]) for entry in found])
        except (OSError, UnicodeError) as error:
            answers.put(error if isinstance(error, OSError) else OSError("no such name"))

    threading.Thread(target=ask, daemon=True, name="resolve").start()
    try:
        answer = answers.get(timeout=max(deadline - time.monotonic(), 0.001))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def is_public(address: _Address) -> bool:
    """Says whether anybody may be reached there; looks through IPv4 written inside IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo or address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


@cache
def private_networks(text: str) -> tuple[Network, ...]:
    """Reads the networks of `PRIVATE_NETWORKS`.

    Raises:
        InputError: It is no list of networks.
    """
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise InputError(
            f"{PRIVATE_NETWORKS}: expected networks such as 10.20.0.0/16 with commas between, "
            f"received {text!r} ({error})"
        ) from None
