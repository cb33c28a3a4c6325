from __future__ import annotations

import hashlib
import os

import pytest

from components.contracts.errors import InputError
from serving.identity.tokens import Tokens, digest, parse

SECRET = "a-secret-of-twenty-chars"
OTHER = "another-secret-of-many-chars"


def test_a_digest_is_the_sha256():
    assert digest("abc") == hashlib.sha256(b"abc").hexdigest()


def test_lines_are_names_rights_and_secrets_or_their_sums():
    ada, shop = parse(
        f"# people\n\nada@shop.example operate {SECRET}\n"
        f"shop  search,withdraw  sha256:{digest(OTHER)}\n",
        source="file",
    )
    assert (ada.name, ada.rights, ada.token) == ("ada@shop.example", {"operate"}, digest(SECRET))
    assert (shop.rights, shop.token) == ({"search", "withdraw"}, digest(OTHER))
    assert ada.may("metrics")
    assert shop.may("withdraw")
    assert not shop.may("metrics")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"ada {SECRET}", "line 1: expected a name, what it may do and a secret, received 2 words"),
        (f"ada fly {SECRET}", "expected some of search, metrics, withdraw, operate"),
        (f"ada operate,operate {SECRET}", "expected some of"),
        ("ada operate short", "expected a secret of 20 to 512 visible ASCII characters"),
        ("ada operate sha256:abc", "expected 64 lower-case hexadecimal digits"),
        (f"<ada> operate {SECRET}", "expected a name of letters"),
        (f"ada operate {SECRET}\nada search {OTHER}", "line 2: this name or this secret"),
        (f"ada operate {SECRET}\nbob search {SECRET}", "line 2: this name or this secret"),
    ],
)
def test_other_lines_are_refused_and_no_secret_is_told(line, words):
    with pytest.raises(InputError) as caught:
        parse(line, source="file")
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_token_is_found_by_all_of_it_only(tmp_path):
    file = tmp_path / "tokens"
    file.write_text(f"ada operate {SECRET}\nbob search {OTHER}\n")
    tokens = Tokens(file, {})
    assert tokens.find(SECRET).name == "ada"
    assert tokens.find(OTHER).name == "bob"
    for wrong in ("", SECRET[:-1], SECRET + "x", SECRET.upper(), "\udcff", "é" * 30):
        assert tokens.find(wrong) is None


def test_the_environment_may_name_one_operator():
    assert Tokens(None, {}).entries() == ()
    (entry,) = Tokens(None, {"LOOKALIKE_TOKEN": SECRET}).entries()
    assert (entry.name, entry.rights) == ("operator", {"operate"})
    with pytest.raises(InputError, match="LOOKALIKE_TOKEN: expected a secret of 20"):
        Tokens(None, {"LOOKALIKE_TOKEN": "short"})


def test_a_changed_file_counts_within_seconds_and_a_broken_one_changes_nothing(tmp_path, caplog):
    clock = [0.0]
    file = tmp_path / "tokens"
    file.write_text(f"ada operate {SECRET}\n")
    tokens = Tokens(file, {}, clock=lambda: clock[0])
    file.write_text(f"ada operate {OTHER}\n")
    os.utime(file, ns=(1, 1))
    assert tokens.find(SECRET) is not None
    clock[0] = 6.0
    assert tokens.find(SECRET) is None
    assert tokens.find(OTHER).name == "ada"
    file.write_text("ada\n")
    clock[0] = 12.0
    assert tokens.find(OTHER).name == "ada"
    assert "stay good" in caplog.text
    file.unlink()
    clock[0] = 18.0
    assert tokens.find(OTHER).name == "ada"


def test_a_missing_file_stops_the_start(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        Tokens(tmp_path / "not", {})
