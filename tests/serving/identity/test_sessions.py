from __future__ import annotations

import base64
import json

import pytest

from components.contracts.errors import InputError
from serving.identity.principal import Principal
from serving.identity.sessions import Sessions, read_key, share_key

KEY = b"k" * 32
ADA = Principal("ada", frozenset({"operate"}), "token", "1" * 64)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sessions(clock):
    return Sessions(KEY, seconds=60, clock=clock)


def test_a_cookie_brings_back_who_opened_it_with_the_rights_of_now(sessions):
    cookie = sessions.open(ADA)
    session = sessions.read(cookie, [ADA])
    assert (session.principal.name, session.principal.means) == ("ada", "session")
    less = Principal("ada", frozenset({"search"}), "token", ADA.token)
    assert not sessions.read(cookie, [less]).principal.may("operate")
    assert "1" * 64 not in base64.urlsafe_b64decode(cookie.split(".")[0]).decode()


def test_it_ends_with_time_with_the_token_and_with_the_key(sessions, clock):
    cookie = sessions.open(ADA)
    changed = Principal("ada", ADA.rights, "token", "2" * 64)
    assert sessions.read(cookie, []) is None
    assert sessions.read(cookie, [changed]) is None
    assert Sessions(b"o" * 32, seconds=60, clock=clock).read(cookie, [ADA]) is None
    clock.now += 61
    assert sessions.read(cookie, [ADA]) is None


def test_another_server_with_the_same_key_takes_it(sessions, clock):
    assert Sessions(KEY, seconds=60, clock=clock).read(sessions.open(ADA), [ADA]) is not None


def test_a_changed_cookie_is_nothing(sessions):
    cookie = sessions.open(ADA)
    body, signature = cookie.split(".")
    content = json.loads(base64.urlsafe_b64decode(body)) | {"until": 10**12}
    forged = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    other = "0" if signature[0] != "0" else "1"
    for wrong in (
        "", ".", body, f"{body}.", f".{signature}", f"{forged}.{signature}",
        f"{body}.{other}{signature[1:]}", cookie + "x", "\udcff.é",
    ):  # fmt: skip
        assert sessions.read(wrong, [ADA]) is None, wrong


def test_a_form_is_good_for_its_browser_and_its_name_only(sessions):
    token = sessions.form_token("nonce", "ada")
    assert sessions.check_form("nonce", "ada", token)
    for nonce, name, given in (
        ("other", "ada", token),
        ("nonce", "bob", token),
        ("nonce", "ada", ""),
        ("nonce", "ada", token[:-1]),
        ("", "ada", sessions.form_token("", "ada")),
    ):
        assert not sessions.check_form(nonce, name, given)


def test_a_session_is_no_form_and_the_other_way_round(sessions):
    body, signature = sessions.open(ADA).split(".")
    assert not sessions.check_form(body, "", signature)


def test_keys_are_read_and_short_ones_refused(tmp_path):
    (tmp_path / "key").write_bytes(KEY + b"\n")
    assert read_key(tmp_path / "key") == KEY
    assert read_key(None, {}) != read_key(None, {})
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(InputError, match="at least 32 bytes, received 5"):
        read_key(tmp_path / "key")
    with pytest.raises(InputError, match="cannot be read"):
        read_key(tmp_path / "not")


def test_processes_of_one_server_share_a_key():
    environment = {}
    share_key(environment)
    first = read_key(None, environment)
    share_key(environment)
    assert read_key(None, environment) == first
    assert len(first) >= 32
