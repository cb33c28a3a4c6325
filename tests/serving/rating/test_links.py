"""Signed links and where their secret comes from."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contracts.errors import InputError
from serving.rating.links import (
    KEY_FILE_VARIABLE,
    KEY_VARIABLE,
    RATER,
    BadTokenError,
    Pass,
    Secrets,
    check_name,
    check_url,
    load_secrets,
    new_key,
    parse_duration,
)

KEYS = Secrets((b"k" * 40,))
ANN = Pass(RATER, "ann", "demo", "", 2_000_000_000)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.delenv(KEY_FILE_VARIABLE, raising=False)


def test_a_pass_is_read_back():
    assert Pass.read(KEYS, ANN.token(KEYS), now=1.0) == ANN


def test_a_pass_ends_at_its_time():
    token = ANN.token(KEYS)

    assert Pass.read(KEYS, token, now=ANN.expires - 1) == ANN
    with pytest.raises(BadTokenError, match="time is over"):
        Pass.read(KEYS, token, now=ANN.expires)


@given(st.integers(0, 200), st.characters(codec="ascii"))
def test_no_sign_of_a_token_can_be_changed(place, sign):
    token = ANN.token(KEYS)
    place %= len(token)
    changed = token[:place] + sign + token[place + 1 :]
    if changed == token:
        return
    with pytest.raises(BadTokenError) as refused:
        Pass.read(KEYS, changed, now=1.0)
    assert refused.value.reason == "tampered"


@given(st.text(max_size=50))
def test_nothing_else_is_a_token(text):
    with pytest.raises(BadTokenError):
        Pass.read(KEYS, text, now=1.0)


def test_a_token_is_for_one_purpose():
    with pytest.raises(BadTokenError):
        KEYS.verify("assignment", ANN.token(KEYS))


def test_an_old_key_still_verifies_and_the_new_one_signs(tmp_path):
    old, new = new_key(), new_key()
    both = Secrets((new.encode(), old.encode()))

    assert Pass.read(both, ANN.token(Secrets((old.encode(),))), now=1.0) == ANN
    assert Pass.read(Secrets((new.encode(),)), ANN.token(both), now=1.0) == ANN
    with pytest.raises(BadTokenError):
        Pass.read(Secrets((old.encode(),)), ANN.token(both), now=1.0)


def test_names_of_pictures_say_nothing_and_differ():
    names = {KEYS.name("picture", "c", rater, "t1", "query") for rater in ("ann", "bob")}

    assert len(names) == 2
    # Parts cannot be shifted from one to the next.
    assert KEYS.name("picture", "ab", "c") != KEYS.name("picture", "a", "bc")


def test_secrets_are_never_shown():
    assert "kkkk" not in repr(KEYS)
    assert "kkkk" not in f"{KEYS}"


def test_the_secret_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    first, second, third = new_key(), new_key(), new_key()
    (tmp_path / "one").write_text(f"{first}\n\n{second}\n")
    assert load_secrets(tmp_path / "one").keys == (first.encode(), second.encode())

    monkeypatch.setenv(KEY_VARIABLE, third)
    assert load_secrets().keys == (third.encode(),)
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(tmp_path / "one"))
    assert load_secrets().keys[0] == first.encode()


def test_without_a_secret_it_is_said_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match="lookalike rate key --out"):
        load_secrets()
    with pytest.raises(InputError, match="no such key file"):
        load_secrets(tmp_path / "nothing")
    (tmp_path / "short").write_text("secret")
    with pytest.raises(InputError, match="at least 32") as refused:
        load_secrets(tmp_path / "short")
    assert "secret\n" not in str(refused.value)
    (tmp_path / "binary").write_bytes(b"\xff\xfe" * 40)
    with pytest.raises(InputError, match="cannot be read"):
        load_secrets(tmp_path / "binary")


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("72h", 259200), ("14d", 1209600)])
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "72", "0h", "91d", "-1h", "1w", "1.5h"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InputError, match="--expires"):
        parse_duration(text)


def test_names_and_addresses_are_checked():
    assert check_name("simulated:careful-01") == "simulated:careful-01"
    assert check_url("https://rate.example.com/") == "https://rate.example.com"
    for name in ("", "a b", "ann\n", "-x", "x" * 101, "é"):
        with pytest.raises(InputError):
            check_name(name)
    for url in ("rate.example.com", "ftp://x", "https://x/path", ""):
        with pytest.raises(InputError):
            check_url(url)


def test_a_fresh_key_is_long_and_new():
    assert len(new_key()) == 64
    assert new_key() != new_key()
    assert time.time() < ANN.expires
