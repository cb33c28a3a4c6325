import ipaddress
import socket
import time

import pytest

from components.contracts.errors import InputError, SetAsideError
from components.contracts.web_addresses import (
    checked_addresses,
    is_public,
    private_networks,
    shown_uri,
    split_web,
)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False),
    ],
)
def test_only_public_addresses_are_public(address, public):
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "::1"])
def test_this_machine_is_refused_in_every_spelling(host):
    with pytest.raises(SetAsideError, match="expected a public address") as error:
        checked_addresses("http://x/", host, 80, (), time.monotonic() + 30)
    assert error.value.reason == "refused_address"


def test_one_private_address_refuses_a_name_with_public_ones(monkeypatch):
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(SetAsideError, match=r"is 10\.0\.0\.1"):
        checked_addresses("http://x/", "shop.example", 80, (), time.monotonic() + 30)
    allowed = private_networks("10.0.0.0/8")
    assert checked_addresses("http://x/", "shop.example", 80, allowed, time.monotonic() + 30) == [
        ("8.8.8.8", 80),
        ("10.0.0.1", 80),
    ]


def test_a_resolver_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3) or [])
    with pytest.raises(TimeoutError):
        checked_addresses("http://x/", "shop.example", 80, (), time.monotonic() + 0.05)


def test_networks_are_read_and_nonsense_is_refused():
    assert private_networks("") == ()
    assert [str(one) for one in private_networks("10.0.0.0/8, ::1/128")] == [
        "10.0.0.0/8",
        "::1/128",
    ]
    with pytest.raises(InputError, match="expected networks such as"):
        private_networks("everything")


def test_an_address_is_split():
    assert split_web("HTTPS://Shop.example/a b.jpg?x=1#top") == (
        True, "shop.example", 443, "/a%20b.jpg?x=1",
    )  # fmt: skip
    assert split_web("http://shop.example:8080") == (False, "shop.example", 8080, "/")
    assert split_web("http://[::1]:81/a%20b") == (False, "::1", 81, "/a%20b")


@pytest.mark.parametrize(
    "uri",
    ["ftp://shop.example/a", "file:///etc/passwd", "http:///a", "http://a:b@c/d", "http://h:99999/",
     "http://[/a"],
)  # fmt: skip
def test_what_is_no_plain_web_address_is_refused(uri):
    with pytest.raises(SetAsideError) as error:
        split_web(uri)
    assert error.value.reason == "refused_address"


def test_people_see_no_credentials():
    assert shown_uri("https://u:secret@shop.example/a?sig=secret#x") == "https://shop.example/a?..."
    assert shown_uri("images/a?.jpg") == "images/a?.jpg"
    assert "secret" not in shown_uri("http://u:secret@[/a")
