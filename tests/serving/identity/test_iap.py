from __future__ import annotations

import base64
import json
import time

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from serving.identity.iap import ISSUER, IapVerifier, KeysUnavailableError

AUDIENCE = "/projects/1/global/backendServices/2"


def encode(value) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Proxy:
    """Signs assertions as the proxy does."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.pem = (
            self.key.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode()
        )

    def sign(self, *, header=None, **claims):
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 600,
            "email": "ada@shop.example", **claims,
        }  # fmt: skip
        head = {"alg": "ES256", "typ": "JWT", "kid": "one", **(header or {})}
        message = f"{encode(head)}.{encode(claims)}"
        signature = self.key.sign(message.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(signature)
        return f"{message}.{encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


@pytest.fixture(scope="module")
def proxy():
    return Proxy()


def verifier(keys):
    made = IapVerifier(AUDIENCE, fetch=lambda: keys)
    end = time.monotonic() + 5
    while not made._keys and keys and time.monotonic() < end:
        time.sleep(0.01)
    return made


def test_a_good_assertion_names_who_asks(proxy):
    checker = verifier({"one": proxy.pem})
    assert checker.email(proxy.sign()) == "ada@shop.example"
    assert checker.email(proxy.sign(email="accounts.google.com:eve@x.example")) == "eve@x.example"


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "/projects/1/global/backendServices/3"},
        {"iss": "https://evil.example"},
        {"exp": int(time.time()) - 3600, "iat": int(time.time()) - 7200},
        {"iat": int(time.time()) + 3600, "exp": int(time.time()) + 7200},
        {"email": ""},
        {"header": {"alg": "none"}},
        {"header": {"alg": "HS256"}},
        {"header": {"kid": "two"}},
    ],
)
def test_any_other_names_nobody(proxy, changes):
    assert verifier({"one": proxy.pem}).email(proxy.sign(**changes)) == ""


def test_a_signature_by_another_key_names_nobody(proxy):
    assert verifier({"one": proxy.pem}).email(Proxy().sign()) == ""


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "....", "é.é.é", "e30.e30.e30"])
def test_garbage_names_nobody(proxy, text):
    assert verifier({"one": proxy.pem}).email(text) == ""


def test_without_keys_nobody_can_tell_and_nothing_waits(proxy):
    def fail():
        raise OSError("no network")

    with pytest.raises(KeysUnavailableError):
        IapVerifier(AUDIENCE, fetch=fail).email(proxy.sign())


def test_a_new_key_is_fetched_when_it_is_met(proxy):
    clock = [0.0]
    keys = {"old": proxy.pem}
    checker = IapVerifier(AUDIENCE, fetch=lambda: dict(keys), clock=lambda: clock[0])
    end = time.monotonic() + 5
    while not checker._keys and time.monotonic() < end:
        time.sleep(0.01)
    keys["one"] = proxy.pem
    clock[0] = 31.0
    assert checker.email(proxy.sign()) == ""
    while "one" not in checker._keys and time.monotonic() < end:
        time.sleep(0.01)
    assert checker.email(proxy.sign()) == "ada@shop.example"
