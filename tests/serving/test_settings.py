from __future__ import annotations

from pathlib import Path

import pytest

from components.contracts.errors import InputError
from serving.settings import Settings, default_cache


def test_only_this_machine_reaches_a_server_that_was_told_nothing():
    assert Settings(bundle=Path("b")).host == "127.0.0.1"
    assert Settings(bundle=Path("b")).images is False


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "received neither"),
        ({"bundle": Path("b"), "registry": "r", "channel": "c"}, "received both"),
        ({"registry": "r"}, "--channel is missing"),
        ({"channel": "c"}, "--registry is missing"),
        ({"bundle": Path("b"), "port": 65536}, "expected 0 to 65535, received 65536"),
        ({"bundle": Path("b"), "poll_seconds": 0}, "poll_seconds: expected more than 0"),
        ({"bundle": Path("b"), "client_rate": -1}, "client_rate: expected 0 or more, received -1"),
        ({"bundle": Path("b"), "client_burst": 0}, "client_burst: expected at least 1"),
        ({"bundle": Path("b"), "max_upload_bytes": 0}, "max_upload_bytes: expected at least 1"),
    ],
)
def test_what_no_server_could_be_made_of_is_refused_by_name(given, message):
    with pytest.raises(InputError, match=message):
        Settings(**given)


def test_the_cache_lies_where_the_user_keeps_caches(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/lookalike/bundles")
