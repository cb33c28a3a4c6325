from __future__ import annotations

from pathlib import Path

import pytest

from components.contracts.errors import InputError
from serving.identity.config import AccessConfig


def test_by_default_anybody_may_search_and_nobody_is_believed():
    config = AccessConfig.from_environment({})
    assert config == AccessConfig()
    assert config.open_search
    assert not config.secure
    assert not config.is_operator("ada@shop.example")


def test_the_environment_sets_everything():
    config = AccessConfig.from_environment(
        {
            "LOOKALIKE_TOKEN_FILE": "/tokens",
            "LOOKALIKE_SESSION_KEY_FILE": "/key",
            "LOOKALIKE_SESSION_HOURS": "1.5",
            "LOOKALIKE_IDENTITY_HEADER": "X-Forwarded-Email",
            "LOOKALIKE_TRUSTED_PROXIES": "10.0.0.0/8, 127.0.0.1",
            "LOOKALIKE_OPERATORS": "ada@shop.example,*@ops.example",
            "LOOKALIKE_CLOSED_SEARCH": "1",
            "LOOKALIKE_PUBLIC_URL": "https://lookalike.shop.example/",
            "LOOKALIKE_IAP_AUDIENCE": "/projects/1",
        }
    )
    assert (config.token_file, config.session_key_file) == (Path("/tokens"), Path("/key"))
    assert (config.session_hours, config.open_search, config.secure) == (1.5, False, True)
    assert config.trusted_proxies == ("10.0.0.0/8", "127.0.0.1")
    assert config.public_url == "https://lookalike.shop.example"
    assert config.iap_audience == "/projects/1"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("ada@shop.example", True),
        ("eve@ops.example", True),
        ("eve@shop.example", False),
        ("eve@ops.example.evil", False),
        ("ops.example", False),
        ("*@ops.example", True),
        ("", False),
    ],
)
def test_operators_are_named_or_of_a_domain(name, is_one):
    config = AccessConfig(
        identity_header="X-User",
        trusted_proxies=("127.0.0.1",),
        operators=("ada@shop.example", "*@ops.example"),
    )
    assert config.is_operator(name) == is_one


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"identity_header": "X-User", "operators": ("a",)}, "anybody can send a header"),
        ({"identity_header": "X-User", "trusted_proxies": ("127.0.0.1",)}, "received nobody"),
        ({"iap_audience": "/projects/1"}, "received nobody"),
        ({"identity_header": "X User"}, "expected a header's name"),
        ({"operators": ("*",)}, "expected ada@shop.example"),
        ({"operators": ("*@",)}, "expected ada@shop.example"),
        ({"operators": ("a*@x",)}, "expected ada@shop.example"),
        ({"trusted_proxies": ("0.0.0.0/0",)}, "that is everybody"),
        ({"session_hours": 0.0}, "more than 0"),
        ({"public_url": "lookalike.example"}, "public_url"),
        ({"public_url": "https://x/path"}, "public_url"),
    ],
)
def test_what_recognises_everybody_or_nobody_is_refused(changes, words):
    with pytest.raises(InputError, match=words.replace("*", r"\*")):
        AccessConfig(**changes)


@pytest.mark.parametrize(
    "environment", [{"LOOKALIKE_SESSION_HOURS": "x"}, {"LOOKALIKE_CLOSED_SEARCH": "maybe"}]
)
def test_values_that_cannot_be_read_are_refused_by_name(environment):
    (name,) = environment
    with pytest.raises(InputError, match=name):
        AccessConfig.from_environment(environment)
