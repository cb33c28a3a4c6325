"""Which campaign runs in a channel, on both stores: one at a time, closed for good."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from components.registry import campaigns
from components.registry.backoff import Backoff
from components.registry.campaigns import (
    CampaignState,
    CampaignStateError,
    Current,
    close,
    expire_after_promotion,
    make_current,
    note_look,
    read_current,
    read_state,
)
from components.registry.local_store import LocalStore
from components.registry.object_store import ABSENT, OutcomeUnknownError, PreconditionFailedError

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
BACKOFF = Backoff(first_s=0.0, deadline_s=1.0)
ONE = Current("one", "v1", "a" * 64, "", NOW.isoformat())
TWO = Current("two", "v2", "b" * 64, "", NOW.isoformat())


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path)


def test_nobody_runs_at_first(store):
    assert read_current(store, "prod") == (Current(), ABSENT)
    assert read_state(store, "prod", "one") == CampaignState()


def test_of_two_who_publish_at_once_one_is_current(store):
    make_current(store, "prod", ONE, generation=ABSENT)
    with pytest.raises(PreconditionFailedError):
        make_current(store, "prod", TWO, generation=ABSENT)
    found, generation = read_current(store, "prod")
    assert found == ONE
    make_current(store, "prod", TWO, generation=generation)
    assert read_current(store, "prod")[0] == TWO


def test_a_lost_answer_is_settled_by_reading(store):
    class Loses(LocalStore):
        def write(self, key, data, *, if_generation=None):
            super().write(key, data, if_generation=if_generation)
            raise OutcomeUnknownError("the answer was lost")

    losing = Loses(store.root)
    make_current(losing, "prod", ONE, generation=ABSENT)
    assert read_current(store, "prod")[0] == ONE
    assert note_look(losing, "prod", "one", "pass", at=NOW, backoff=BACKOFF).status == "pass"


def test_an_undecided_look_leaves_it_running_and_a_decision_closes_it(store):
    assert not note_look(store, "prod", "one", "undecided", at=NOW, backoff=BACKOFF).closed
    assert note_look(store, "prod", "one", "pass", at=NOW, backoff=BACKOFF).state == "decided"
    # What was decided stays: neither a later look nor a newer candidate changes it.
    assert note_look(store, "prod", "one", "fail", at=NOW, backoff=BACKOFF).status == "pass"
    kept = close(store, "prod", "one", state="superseded", at=NOW, who="x", why="y")
    assert (kept.state, kept.status) == ("decided", "pass")


def test_a_successor_killed_half_way_has_superseded_all_the_same(store):
    make_current(store, "prod", ONE, generation=ABSENT)
    make_current(store, "prod", TWO, generation=read_current(store, "prod")[1])
    state = read_state(store, "prod", "one")
    assert (state.state, state.superseded_by) == ("superseded", "v2")
    assert read_state(store, "prod", "two").state == "running"


def test_a_promotion_expires_what_still_runs(store):
    make_current(store, "prod", TWO, generation=ABSENT)
    assert expire_after_promotion(
        store, "prod", live="v3", live_digest="c" * 64, at=NOW, who="alice"
    ) == ["two"]
    state = read_state(store, "prod", "two")
    assert (state.state, state.status, state.who) == ("expired", "expired", "alice")
    assert state.why == "v3 went live while v2 was being rated"


def test_a_promotion_leaves_its_own_campaign_and_closed_ones_alone(store):
    make_current(store, "prod", TWO, generation=ABSENT)
    arguments = {"live": "v2", "live_digest": TWO.manifest_digest, "at": NOW, "who": "alice"}
    assert expire_after_promotion(store, "prod", **arguments) == []
    note_look(store, "prod", "two", "pass", at=NOW, backoff=BACKOFF)
    assert expire_after_promotion(store, "prod", **{**arguments, "live_digest": "z"}) == []
    assert read_state(store, "prod", "two").state == "decided"


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b'{"schema":2}',
        b'{"schema":1,"state":"open"}',
        b'{"schema":1,"state":1}',
        b'{"schema":1,"new":"x"}',
    ],
)
def test_a_state_that_cannot_be_read_is_no_state(store, data):
    store.write("campaigns/prod/one/state.json", data)
    with pytest.raises(CampaignStateError):
        read_state(store, "prod", "one")


def test_keys_keep_to_the_channel():
    assert campaigns.campaign_prefix("prod", "ab12") == "campaigns/prod/ab12/"
