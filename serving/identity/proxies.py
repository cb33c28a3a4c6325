"""What a proxy says of who is asking, believed only from the proxies that were named."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from starlette.requests import HTTPConnection

from components.contracts.errors import InputError

_LONGEST_ADDRESS = 64
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Reads addresses and networks such as `10.0.0.0/8`.

    Raises:
        InputError: One is neither, or would trust everybody.
    """
    networks = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text.strip())
        except ValueError as error:
            raise InputError(
                f"trusted proxy {text!r}: expected an address or network ({error})"
            ) from None
        if network.prefixlen == 0:
            raise InputError(f"trusted proxy {text!r}: that is everybody; name the proxies")
        networks.append(network)
    return tuple(networks)


def _trusted(address: str, networks: Sequence[Network]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip.version == 6 and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in network for network in networks)


def from_proxy(connection: HTTPConnection, networks: Sequence[Network]) -> bool:
    """Whether a request comes straight from a trusted proxy."""
    return connection.client is not None and _trusted(connection.client.host, networks)


def client_address(connection: HTTPConnection, networks: Sequence[Network]) -> str:
    """Returns who asks: the peer, or the last address before the trusted proxies."""
    peer = connection.client.host if connection.client else ""
    return forwarded_for(peer, ",".join(connection.headers.getlist("x-forwarded-for")), networks)


def forwarded_for(peer: str, hops: str, networks: Sequence[Network]) -> str:
    """Returns the address that a request came from.

    Args:
        peer: Who sent it to us.
        hops: `X-Forwarded-For`, its lines joined by commas. It is read from its end, since
            everything before what our proxies added was written by the client.
        networks: The trusted proxies.
    """
    if not _trusted(peer, networks):
        return peer
    for hop in reversed(hops.split(",")):
        address = hop.strip()
        if not _trusted(address, networks):
            return address[:_LONGEST_ADDRESS] or peer
    return peer


@lru_cache(maxsize=4096)
def household(address: str) -> str:
    """Returns what counts as one client: an IPv4 address, or the whole /64 of an IPv6 one."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if ip.version == 6:
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return address
