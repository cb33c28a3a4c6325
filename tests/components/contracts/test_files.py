import json
import os
import stat

import pytest

from components.contracts import files
from components.contracts.errors import InputError

# printf 'abc' | sha256sum
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_digests_of_bytes_and_files_are_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256_bytes(b"abc") == ABC
    assert files.sha256_file(tmp_path / "a") == ABC


def test_tree_digest_depends_on_names_and_contents_not_on_the_place(tmp_path):
    for root in ("one", "two"):
        (tmp_path / root / "sub").mkdir(parents=True)
        (tmp_path / root / "sub" / "a").write_bytes(b"abc")
    assert files.sha256_tree(tmp_path / "one") == files.sha256_tree(tmp_path / "two")
    (tmp_path / "two" / "sub" / "a").rename(tmp_path / "two" / "sub" / "b")
    assert files.sha256_tree(tmp_path / "one") != files.sha256_tree(tmp_path / "two")


def test_write_atomically_makes_parents_and_a_readable_file(tmp_path):
    path = tmp_path / "x" / "y.txt"
    files.write_atomically(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_write_atomically_keeps_the_old_file_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "y.txt"
    path.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["y.txt"]


def test_json_round_trip_and_stable_text(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": 1, "a": "ä"})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": "ä",\n  "b": 1\n}\n'
    assert files.read_json(tmp_path / "a.json") == {"b": 1, "a": "ä"}


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize("content", [None, "{", b"\xff"])
def test_read_json_names_the_file(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"a\.json: expected"):
        files.read_json(path)


def test_json_lines_round_trip(tmp_path):
    records = [{"a": 1}, {"a": "line\nbreak"}]
    assert files.write_json_lines(tmp_path / "a.jsonl", records) == 2
    assert list(files.read_json_lines(tmp_path / "a.jsonl")) == records
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("line", "message"), [("{", "line 2: expected JSON"), ("[1]", "line 2: expected a JSON object")]
)
def test_json_lines_name_the_line(tmp_path, line, message):
    (tmp_path / "a.jsonl").write_text(f"{json.dumps({'a': 1})}\n{line}\n")
    with pytest.raises(InputError, match=message):
        list(files.read_json_lines(tmp_path / "a.jsonl"))


def test_missing_json_lines_are_an_input_error(tmp_path):
    with pytest.raises(InputError, match="found nothing there"):
        list(files.read_json_lines(tmp_path / "a.jsonl"))


def test_fresh_directory_forgets_a_killed_attempt(tmp_path):
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "sub" / "half").write_text("half")
    assert list(files.fresh_directory(tmp_path / "out").iterdir()) == []
