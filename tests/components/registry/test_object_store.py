"""The contract of every store: the same tests for the directory and for Google Cloud Storage."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from components.contracts.errors import InputError
from components.registry.object_store import (
    ABSENT,
    ObjectNotFoundError,
    ObjectStore,
    PreconditionFailedError,
    open_store,
)


def test_reads_what_was_written_with_its_generation(store: ObjectStore) -> None:
    generation = store.write("channels/demo.json", b"{}")
    assert store.read("channels/demo.json") == (b"{}", generation)
    assert generation > 0


def test_a_missing_object_is_named(store: ObjectStore) -> None:
    for call in (store.read, store.stat, lambda key: list(store.read_chunks(key))):
        with pytest.raises(ObjectNotFoundError, match="a/b"):
            call("a/b")


def test_every_write_changes_the_generation_even_with_the_same_content(store: ObjectStore) -> None:
    generations = [store.write("k", b"same") for _ in range(20)]
    assert len(set(generations)) == 20


def test_create_only_takes_no_existing_object(store: ObjectStore) -> None:
    store.write("k", b"first", if_generation=ABSENT)
    with pytest.raises(PreconditionFailedError):
        store.write("k", b"second", if_generation=ABSENT)
    assert store.read("k")[0] == b"first"


def test_swap_takes_only_the_generation_that_was_read(store: ObjectStore) -> None:
    old = store.write("k", b"1")
    new = store.write("k", b"2", if_generation=old)
    with pytest.raises(PreconditionFailedError):
        store.write("k", b"3", if_generation=old)
    assert store.read("k") == (b"2", new)


def test_swap_of_a_missing_object_fails(store: ObjectStore) -> None:
    with pytest.raises(PreconditionFailedError):
        store.write("k", b"1", if_generation=12345)


def test_sixteen_threads_have_one_winner(store: ObjectStore) -> None:
    generation = store.write("k", b"start")
    won: list[int] = []

    def race(number: int) -> None:
        try:
            store.write("k", str(number).encode(), if_generation=generation)
        except PreconditionFailedError:
            return
        won.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read("k")[0] == str(won[0]).encode()


def test_lists_by_prefix_in_order(store: ObjectStore) -> None:
    for key in ("b/2/x", "b/1/y", "b/1/x", "bb/1", "a"):
        store.write(key, key.encode())
    assert [info.key for info in store.list("b/")] == ["b/1/x", "b/1/y", "b/2/x"]
    assert [info.key for info in store.list("")] == ["a", "b/1/x", "b/1/y", "b/2/x", "bb/1"]
    assert [info.size for info in store.list("b/")] == [5, 5, 5]
    assert list(store.list("nothing/")) == []


def test_lists_one_name_one_level_down(store: ObjectStore) -> None:
    for key in ("b/1/m", "b/2/x", "b/3/deep/m", "b/4/m", "b/m"):
        store.write(key, b"")
    assert [info.key for info in store.list("b/", name="m")] == ["b/1/m", "b/4/m"]


def test_delete_is_quiet_about_what_is_gone(store: ObjectStore) -> None:
    generation = store.write("k/x", b"1")
    store.delete("k/x", if_generation=generation)
    store.delete("k/x")
    assert list(store.list("")) == []


def test_files_travel_both_ways(store: ObjectStore, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    (tmp_path / "source").write_bytes(content)
    generation = store.upload_file(tmp_path / "source", "deep/er/file", if_generation=ABSENT)
    with pytest.raises(PreconditionFailedError):
        store.upload_file(tmp_path / "source", "deep/er/file", if_generation=ABSENT)
    assert store.download_file("deep/er/file", tmp_path / "new" / "copy") == generation
    assert (tmp_path / "new" / "copy").read_bytes() == content
    assert b"".join(store.read_chunks("deep/er/file")) == content
    assert store.stat("deep/er/file").size == len(content)


def test_a_failed_download_leaves_nothing(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFoundError):
        store.download_file("missing", tmp_path / "out" / "file")
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a\nb", "a\\b", "a\x00b"]
)
def test_refuses_keys_that_leave_the_store(store: ObjectStore, key: str) -> None:
    for call in (store.read, store.stat, store.delete, lambda key: store.write(key, b"")):
        with pytest.raises(InputError):
            call(key)


@pytest.mark.parametrize("prefix", ["a", "../", "/", "a//"])
def test_refuses_prefixes_that_are_not_folders(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(InputError):
        list(store.list(prefix))


@pytest.mark.parametrize(
    "uri", ["", "s3://bucket/x", "file://host/x", "file:relative", "gs://", "gs:///x", "a\nb"]
)
def test_refuses_uris_that_name_no_store(uri: str) -> None:
    with pytest.raises(InputError, match="expected"):
        open_store(uri)


def test_opens_file_uris(tmp_path: Path) -> None:
    open_store((tmp_path / "with space").as_uri()).write("k", b"1")
    assert (tmp_path / "with space" / "k").read_bytes() == b"1"
