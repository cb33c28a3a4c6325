from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from components.contracts.errors import InputError
from components.registry.local_store import LocalStore
from components.registry.object_store import ObjectStoreError, PreconditionFailedError

_SPAWN = multiprocessing.get_context("spawn")


def _count_up(root: str, times: int) -> None:
    store = LocalStore(Path(root))
    for _ in range(times):
        while True:
            data, generation = store.read("counter")
            try:
                store.write("counter", str(int(data) + 1).encode(), if_generation=generation)
                break
            except PreconditionFailedError:
                continue


def _write_for_ever(root: str) -> None:
    store = LocalStore(Path(root))
    for number in range(10**9):
        store.write("k", str(number % 10).encode() * 200_000)


@pytest.mark.multiprocess
def test_processes_lose_no_increment(tmp_path: Path) -> None:
    LocalStore(tmp_path).write("counter", b"0")
    workers = [_SPAWN.Process(target=_count_up, args=(str(tmp_path), 40)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert LocalStore(tmp_path).read("counter")[0] == b"160"


@pytest.mark.multiprocess
def test_a_reader_sees_whole_objects_while_a_writer_is_killed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write("k", b"0" * 200_000)
    for _ in range(3):
        worker = _SPAWN.Process(target=_write_for_ever, args=(str(tmp_path),))
        before = store.stat("k").generation
        worker.start()
        while store.stat("k").generation == before:
            time.sleep(0.001)
        for _ in range(50):
            data = store.read("k")[0]
            assert len(data) == 200_000
            assert len(set(data)) == 1
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
        assert len(set(store.read("k")[0])) == 1
    # The killed writers' locks are gone with them, and their leftovers are no objects.
    store.write("k", b"after")
    assert [info.key for info in store.list("")] == ["k"]


def test_a_clock_that_goes_back_still_makes_new_generations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    first = store.write("k", b"1")
    monkeypatch.setattr(time, "time_ns", lambda: first - 10**12)
    second = store.write("k", b"2", if_generation=first)
    assert second > first
    with pytest.raises(PreconditionFailedError):
        store.write("k", b"3", if_generation=first)


def test_an_edit_by_hand_changes_the_generation(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    generation = store.write("k", b"1")
    (tmp_path / "k").write_bytes(b"by hand")
    with pytest.raises(PreconditionFailedError):
        store.write("k", b"2", if_generation=generation)


def test_a_writer_and_a_deleter_next_door_do_not_disturb_each_other(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    stop = threading.Event()

    def delete() -> None:
        while not stop.is_set():
            store.write("folder/other", b"")
            store.delete("folder/other")

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        for number in range(100):
            store.write("folder/mine", str(number).encode())
            store.delete("folder/mine")
            store.write("folder/mine", b"")
    finally:
        stop.set()
        thread.join()
    assert store.read("folder/mine")[0] == b""


def test_a_file_is_no_registry(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a directory, found a file"):
        LocalStore(tmp_path / "file")


def test_the_private_folder_cannot_be_reached_by_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="belongs to the store"):
        LocalStore(tmp_path).write(".store/locks/00", b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_missing_permission_is_one_line(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write("k", b"1")
    (tmp_path / "k").chmod(0)
    with pytest.raises(ObjectStoreError, match="no permission for k"):
        store.read("k")


def test_a_permission_error_of_the_system_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    store.write("k", b"1")

    def refuse(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ObjectStoreError, match="no permission for k"):
        store.read("k")


def test_a_conditional_delete_spares_another_generation(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    generation = store.write("k", b"1")
    store.write("k", b"2")
    with pytest.raises(PreconditionFailedError):
        store.delete("k", if_generation=generation)
    assert store.read("k")[0] == b"2"
