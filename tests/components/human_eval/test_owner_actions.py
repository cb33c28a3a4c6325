"""The owner's actions: numbered, kept, and read back as what follows from them."""

import threading
from datetime import UTC, datetime

import pytest

from components.contracts.errors import InputError
from components.human_eval.owner_actions import read_actions, record_action
from components.registry.local_store import LocalStore

PREFIX = "campaigns/demo/c/"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path) -> LocalStore:
    return LocalStore(tmp_path)


def act(store, action, subject, reason="because"):
    return record_action(
        store, PREFIX, action=action, subject=subject, by="owner", reason=reason, now=NOW
    )


def test_bans_can_be_lifted_and_all_stays_on_record(store):
    act(store, "ban", "ann", "spam")
    act(store, "ban", "bob", "bot")
    act(store, "lift", "ann")
    act(store, "reissue", "t1")

    found = read_actions(store, PREFIX)
    assert found.banned == {"bob": "bot"}
    assert found.extra == {"t1": 2}
    assert [entry.action for entry in found.entries] == ["ban", "ban", "lift", "reissue"]
    assert found.problems == ()


def test_nothing_was_done(store):
    found = read_actions(store, PREFIX)

    assert (found.entries, found.banned, found.extra) == ((), {}, {})


def test_two_owners_at_once_lose_nothing(store):
    raters = [f"r{n}" for n in range(12)]
    threads = [threading.Thread(target=act, args=(store, "ban", rater)) for rater in raters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(read_actions(store, PREFIX).banned) == set(raters)


@pytest.mark.parametrize(
    ("action", "subject", "reason"),
    [("kick", "ann", "x"), ("ban", "", "x"), ("ban", "a\nb", "x"), ("ban", "ann", "x" * 201)],
)
def test_what_is_no_action_is_refused(store, action, subject, reason):
    with pytest.raises(InputError):
        act(store, action, subject, reason)
    assert read_actions(store, PREFIX).entries == ()


@pytest.mark.parametrize("data", [b"", b"[]", b'{"schema": 1}', b"\xff"])
def test_an_action_that_cannot_be_read_is_a_problem(store, data):
    act(store, "ban", "ann")
    store.write(f"{PREFIX}actions/00000002.json", data)

    found = read_actions(store, PREFIX)
    assert found.banned == {"ann": "because"}
    assert "00000002" in found.problems[0]


def test_an_action_that_vanished_is_a_problem(store):
    act(store, "ban", "ann")
    act(store, "ban", "bob")
    store.delete(f"{PREFIX}actions/00000001.json")

    assert read_actions(store, PREFIX).problems
