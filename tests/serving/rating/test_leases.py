"""Leases are shared through the store and end by themselves."""

import pytest

from components.registry.local_store import LocalStore
from serving.rating.leases import Leases

PREFIX = "campaigns/demo/c/"


@pytest.fixture
def store(tmp_path) -> LocalStore:
    return LocalStore(tmp_path)


def test_a_lease_is_seen_by_other_replicas(store):
    mine, theirs = Leases(store, PREFIX), Leases(store, PREFIX)
    mine.take("ann", ["t1", "t2"], expires=100.0)

    assert mine.of("ann", now=0.0) == ("t1", "t2")
    assert theirs.of("ann", now=0.0) == ()
    theirs.follow()
    assert theirs.of("ann", now=0.0) == ("t1", "t2")
    assert [lease.rater_id for lease in theirs.active(now=0.0)] == ["ann"]


def test_a_lease_ends(store):
    leases = Leases(store, PREFIX)
    leases.take("ann", ["t1"], expires=100.0)

    assert leases.of("ann", now=99.9) == ("t1",)
    assert leases.of("ann", now=100.0) == ()
    assert leases.active(now=100.0) == []


def test_the_newest_lease_of_a_rater_holds(store):
    mine, theirs = Leases(store, PREFIX), Leases(store, PREFIX)
    mine.take("ann", ["t1"], expires=100.0)
    theirs.follow()
    mine.take("ann", ["t2"], expires=200.0)
    theirs.follow()

    assert theirs.of("ann", now=0.0) == ("t2",)
    assert len(list(store.list(f"{PREFIX}leases/"))) == 1


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"schema": 2, "rater_id": "a", "tasks": [], "expires": 1}',
             b'{"schema": 1, "rater_id": "a", "tasks": [1], "expires": 1}', b"\xff"],
)  # fmt: skip
def test_a_lease_that_cannot_be_read_holds_nothing(store, data):
    store.write(f"{PREFIX}leases/broken.json", data)
    leases = Leases(store, PREFIX)
    leases.follow()

    assert leases.active(now=0.0) == []
