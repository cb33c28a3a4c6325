"""What earlier campaigns said: what counts, for how long, and for which pairs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from components.contracts.errors import InputError
from components.human_eval.aggregate import aggregate, screen
from components.human_eval.history import (
    History,
    Judgement,
    combine,
    decode,
    encode,
    is_earlier,
    judgements_of,
    without,
)
from components.human_eval.plan import Pair
from components.human_eval.ratings import Rating

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def said(rater, grade=3, *, query="q", result="r", gold=None, days=1, stratum="d"):
    at = (NOW - timedelta(days=days)).isoformat()
    source = "" if gold is None else "view"
    return Judgement(query, result, stratum, "candidate", gold, source, rater, grade, 2.0, at)


def recent(entries, **options):
    settings = {"now": NOW, "live_days": 14, "gold_days": 90, "simulated": False, **options}
    return History.recent(entries, **settings)


def pair(task="t", query="q", result="r", gold=None, *, cached=False):
    return Pair(task, "x", "y", f"images/{query}.jpg", f"images/{result}.jpg", "d", "candidate",
                gold, "", cached)  # fmt: skip


def test_what_is_written_is_read_back_in_one_order():
    entries = [said("bob"), said("ann", None), said("ann", 0, gold=3)]
    assert encode(entries) == encode(entries[::-1])
    assert sorted(decode(encode(entries), source="x"), key=str) == sorted(entries, key=str)


@pytest.mark.parametrize("data", [b"{}\n", b"[]\n", b"{", b'{"query":"q"}\n'])
def test_a_cache_that_cannot_be_read_saves_nothing(data):
    with pytest.raises(InputError, match="line 1"):
        decode(data, source="x")
    with pytest.raises(InputError, match="grade is out of range"):
        decode(encode([replace(said("ann"), grade=7)]), source="x")


def test_live_pairs_count_for_14_days_and_golds_for_90():
    entries = [said("a", days=14), said("b", days=14.1), said("c", gold=3, days=89),
               said("d", gold=3, days=91), said("e", days=-1)]  # fmt: skip
    assert {entry.rater_id for entry in recent(entries).judgements} == {"a", "c"}


def test_simulated_judgements_count_only_among_themselves():
    entries = [said("simulated:careful-01"), said("ann")]
    assert len(recent(entries).judgements) == 1
    assert len(recent(entries, simulated=True).judgements) == 2


def test_a_pair_is_covered_by_enough_judgements_of_one_campaign():
    three = [said(name) for name in "abc"]
    assert recent(three).covers(("q", "r"), ratings=3)
    assert not recent(three[:2]).covers(("q", "r"), ratings=3)
    assert not recent([*three[:2], said("c", days=2)]).covers(("q", "r"), ratings=3)
    assert not recent([replace(e, gold=3) for e in three]).covers(("q", "r"), ratings=3)
    assert not recent(three).covers(("q", "other"), ratings=3)


def test_checked_golds_are_pairs_on_which_all_agreed():
    entries = [
        *(said(r, g, result="yes") for r, g in zip("abc", (2, 3, 3), strict=True)),
        *(said(r, g, result="no") for r, g in zip("abc", (0, 1, 1), strict=True)),
        *(said(r, g, result="split") for r, g in zip("abc", (3, 3, 1), strict=True)),
        *(said(r, g, result="unsure") for r, g in zip("abc", (3, 3, None), strict=True)),
        *(said(r, 3, result="few") for r in "ab"),
        *(said(r, 3, result="gold", gold=3) for r in "abc"),
    ]
    assert recent(entries).agreed(3) == {("q", "yes"): 3, ("q", "no"): 1}


def test_earlier_ratings_count_for_cached_pairs_alone():
    history = recent([said(name) for name in "abc"])
    cached = combine([pair(cached=True)], [], history)
    assert [rating.task_id for rating in cached.ratings] == ["t", "t", "t"]
    fresh = combine([pair()], [], history)
    assert all(is_earlier(rating.task_id) for rating in fresh.ratings)
    assert len(fresh.pairs) == 2
    # Who has rated it in this campaign is not counted twice.
    both = combine([pair(cached=True)], [Rating("t", "a", 0, 1.0)], history)
    assert [rating.grade for rating in both.ratings] == [0, 3, 3]


def test_the_matrices_are_fitted_on_the_last_days_alone():
    history = recent([said("a", gold=3, days=20), said("b", gold=3, days=3)])
    assert combine([], [], history).fitted == (False, True)


def test_a_banned_rater_is_banned_backwards_too():
    history = recent([said("a"), said("b")])
    assert [entry.rater_id for entry in without(history, ["a"]).judgements] == ["b"]
    assert without(history, []) is history


def test_a_cached_pair_is_judged_without_a_rating(gate):
    """A second campaign about the same results asks nobody and gives the same score."""
    one = gate(version="v1")
    ratings = len(gate.findings.ratings)
    at = gate.now + timedelta(days=1)
    material = gate.material("v1")
    two = gate(version="v2", material=material, now=at)
    assert two.status == one.status == "pass"
    found = gate.findings
    live = {p.task_id for p in found.plan.live}
    asked = {r.task_id for r in found.ratings} & live
    assert len(found.labels.cached) > 0.9 * len(live)
    # A twentieth is rated again all the same.
    assert 0 < len(asked) < 0.12 * len(live)
    assert len(found.ratings) < 0.25 * ratings
    score = [next(c for c in v.checks if c.name == "similarity").observed for v in (one, two)]
    assert score[0] == pytest.approx(score[1], abs=0.02)
    assert any("spared" in note for note in two.notes)


def test_judgements_hold_what_counted(gate):
    gate(version="v1")
    found = gate.findings
    kept = judgements_of(found.plan.pairs, found.ratings, at=NOW)
    assert len(kept) == len(found.ratings)
    assert {entry.gold for entry in kept} == {None, 0, 3}


def test_a_rater_known_by_earlier_golds_need_not_qualify_again(gate):
    gate(version="v1")
    gate.publish("v2", now=gate.now + timedelta(days=1))
    campaign = gate.open()
    reports = screen(campaign.plan, [], campaign.config, campaign.history).reports
    assert {r.standing for r in reports if "careful" in r.rater_id} == {"counted"}
    labels = aggregate(campaign.plan, [], campaign.config, campaign.history)
    assert labels.simulated
    assert labels.youden is not None
