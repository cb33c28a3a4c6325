from __future__ import annotations

import threading

import pytest

from components.contracts.errors import InputError, LookalikeError
from components.registry import trials, withdrawals
from components.registry.backoff import Backoff
from components.registry.object_store import OutcomeUnknownError, open_store

BACKOFF = Backoff(deadline_s=20.0, first_s=0.001, cap_s=0.02)


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "registry"))


def change(store, item_id, *, withdraw=True):
    return withdrawals.change(
        store, "prod", item_id, withdraw=withdraw, who="ada", why="recalled", backoff=BACKOFF
    )


def test_withdrawing_and_restoring_are_remembered_with_their_note(store):
    assert withdrawals.read(store, "prod").items == {}
    after, changed = change(store, "a/b:c")
    assert changed
    note = withdrawals.read(store, "prod").items["a/b:c"]
    assert (note.who, note.why) == ("ada", "recalled")
    assert after.generation == withdrawals.read(store, "prod").generation
    assert change(store, "a/b:c")[1] is False
    assert change(store, "a/b:c", withdraw=False)[1] is True
    assert withdrawals.read(store, "prod").items == {}
    assert change(store, "a/b:c", withdraw=False)[1] is False


def test_many_at_a_time_lose_none(store):
    threads = [threading.Thread(target=change, args=(store, f"item-{n}")) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(withdrawals.read(store, "prod").items) == 16


@pytest.mark.parametrize("taken", [True, False])
def test_a_lost_answer_is_settled_by_reading(store, monkeypatch, taken):
    write = type(store).write
    calls = []

    def losing(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            if taken:
                write(self, *arguments, **options)
            raise OutcomeUnknownError("lost")
        return write(self, *arguments, **options)

    monkeypatch.setattr(type(store), "write", losing)
    _, changed = change(store, "a")
    assert changed
    assert set(withdrawals.read(store, "prod").items) == {"a"}
    assert len(calls) == (1 if taken else 2)


@pytest.mark.parametrize("data", [b"nonsense", b"{}", b'{"schema": 2, "items": {}}', b"[]"])
def test_an_object_that_cannot_be_read_is_no_empty_list(store, data):
    store.write("withdrawals/prod.json", data)
    with pytest.raises(LookalikeError, match="expected the withdrawn items"):
        withdrawals.read(store, "prod")


def test_names_and_reasons_are_checked(store, monkeypatch):
    with pytest.raises(InputError):
        change(store, "")
    with pytest.raises(InputError):
        change(store, "x" * 1001)
    monkeypatch.setattr(withdrawals, "MOST_ITEMS", 1)
    change(store, "a")
    with pytest.raises(InputError, match="build a new index without them"):
        change(store, "b")


def test_a_canarys_end_is_written_once(store):
    assert trials.ended(store, "next", "v2") == ""
    trials.end(store, "next", "v2", "too slow")
    trials.end(store, "next", "v2", "another reason")
    assert trials.ended(store, "next", "v2") == "too slow"
    assert trials.ended(store, "next", "v3") == ""
    store.write(trials.key_of("next", "v3"), b"nonsense")
    assert trials.ended(store, "next", "v3") != ""
