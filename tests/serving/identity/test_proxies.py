from __future__ import annotations

import pytest
from starlette.requests import HTTPConnection

from components.contracts.errors import InputError
from serving.identity.proxies import client_address, from_proxy, household, parse_networks

NETWORKS = parse_networks(["10.0.0.0/8", "::1"])


def connection(peer, *forwarded):
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return HTTPConnection(
        {"type": "http", "client": (peer, 1) if peer else None, "headers": headers}
    )


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.5", (), "203.0.113.5"),
        # Nobody but a proxy is believed.
        ("203.0.113.5", ("1.2.3.4",), "203.0.113.5"),
        ("10.0.0.1", ("1.2.3.4",), "1.2.3.4"),
        # What stands before the last foreign address was written by the client.
        ("10.0.0.1", ("9.9.9.9, 1.2.3.4, 10.0.0.2",), "1.2.3.4"),
        ("10.0.0.1", ("9.9.9.9", "1.2.3.4"), "1.2.3.4"),
        ("10.0.0.1", ("10.0.0.3",), "10.0.0.1"),
        ("::ffff:10.0.0.1", ("1.2.3.4",), "1.2.3.4"),
        ("10.0.0.1", ("unknown",), "unknown"),
        ("10.0.0.1", ("1.2.3.4, ",), "10.0.0.1"),
        ("10.0.0.1", ("x" * 500,), "x" * 64),
        (None, ("1.2.3.4",), ""),
    ],
)
def test_the_address_is_that_before_the_trusted_proxies(peer, forwarded, address):
    assert client_address(connection(peer, *forwarded), NETWORKS) == address


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("unknown", "unknown"),
    ],
)
def test_a_household_is_one_client(address, client):
    assert household(address) == client


def test_only_named_proxies_are_believed():
    assert from_proxy(connection("::1"), NETWORKS)
    assert not from_proxy(connection("11.0.0.1"), NETWORKS)
    assert not from_proxy(connection(None), NETWORKS)
    assert not from_proxy(connection("10.0.0.1"), ())


@pytest.mark.parametrize("text", ["", "proxy", "10.0.0.1/8", "0.0.0.0/0", "::/0"])
def test_what_is_no_network_or_everybody_is_refused(text):
    with pytest.raises(InputError, match="trusted proxy"):
        parse_networks([text])
