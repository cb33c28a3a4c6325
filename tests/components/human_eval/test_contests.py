"""Comparisons: what changed, and that draws from the panel are distributed as they must be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from components.human_eval.answers import Answer, Result
from components.human_eval.config import GateConfig
from components.human_eval.contests import change_of, draw_contest
from components.human_eval.pairs import Binding, PairBook
from components.human_eval.panel import draw_panel, population
from components.human_eval.plan import INCUMBENT

CONFIG = GateConfig(cap_queries=4000, cap_non_inferiority=400, cap_high_churn=800)


def answer(query, items):
    return Answer(query, "item", "q.jpg", query, "", "", tuple(result(i) for i in items))


def result(item):
    return Result(item, item, f"{item}.jpg", f"{item:0>32}")


def listed(*items):
    return {item: result(item) for item in items}


def test_what_changed_and_is_still_sold():
    change = change_of(answer("q", "abc"), answer("q", "bxyz"), listed(*"abcxy"), 3)
    assert [r.item_id for r in change.added] == ["a", "c"]
    assert [r.item_id for r in change.removed] == ["x", "y"]
    assert change.slots == 2


def test_a_slot_left_empty_is_a_change_for_the_worse():
    change = change_of(answer("q", "a"), answer("q", "axy"), listed(*"axy"), 3)
    assert change.added == (None, None)
    assert change.slots == 2
    # What is no longer sold counts neither way.
    assert change_of(answer("q", "a"), answer("q", "axy"), listed("a"), 3).slots == 0
    assert change_of(answer("q", ""), answer("q", "x"), listed("x"), 3).slots == 1


def contest(candidate, before, traffic, *, sold, margin=0.02, seed=1):
    rng = np.random.default_rng(seed)
    crowd = population(list(candidate.values()), traffic, dict.fromkeys(candidate, "d"), ["d"])
    panel = draw_panel(crowd, CONFIG, rng, None)
    book = PairBook(Binding("v", "a", "w", "b"), {"d": "d"}, dict.fromkeys(candidate, "d"))
    found = draw_contest(
        candidate, before, traffic, listed(*sold), panel, book, CONFIG, rng, margin=margin
    )
    return found, book


def test_draws_go_by_traffic_times_changed_slots():
    """q1: 1 of 5 changed, traffic 6; q2: 3 of 5 changed, traffic 2; q3 unchanged."""
    now = {"q1": answer("q1", "abcde"), "q2": answer("q2", "fghij"), "q3": answer("q3", "klmno")}
    then = {"q1": answer("q1", "abcdx"), "q2": answer("q2", "fguvw"), "q3": answer("q3", "klmno")}
    traffic = {"q1": 6.0, "q2": 2.0, "q3": 4.0}
    found, book = contest(now, then, traffic, sold="abcdefghijklmnoxuvw")
    assert found.churn == pytest.approx((6 * 1 + 2 * 3) / (12 * 5))
    assert found.coverage == 1.0
    share = Counter(c.query_id for c in found.comparisons)
    total = sum(share.values())
    assert total == 400
    assert share["q1"] / total == pytest.approx(0.5, abs=0.075)
    added = Counter(book.pairs[c.added].item_id for c in found.comparisons if c.query_id == "q2")
    assert set(added) == {"h", "i", "j"}
    assert min(added.values()) > 0.2 * share["q2"]
    assert {book.pairs[c.removed].side for c in found.comparisons} == {INCUMBENT}


def test_empty_slots_are_drawn_as_often_as_they_should():
    """q1 lost 2 results, q2 swapped 2: half of the comparisons each."""
    now = {"q1": answer("q1", "abc"), "q2": answer("q2", "fghij")}
    then = {"q1": answer("q1", "abcxy"), "q2": answer("q2", "fghuv")}
    found, _ = contest(now, then, {"q1": 1.0, "q2": 1.0}, sold="abcfghijxyuv")
    empty = sum(c.added == "" for c in found.comparisons)
    assert len(found.comparisons) == 800
    assert empty / 800 == pytest.approx(0.5, abs=0.06)
    assert all(len(c.tasks) == (1 if c.added == "" else 2) for c in found.comparisons)


def test_little_churn_and_unknown_queries():
    now = {"q1": answer("q1", "abcde"), "q2": answer("q2", "fghij")}
    found, _ = contest(now, {"q1": answer("q1", "abcde")}, {"q1": 1.0, "q2": 3.0}, sold="abcde")
    assert (found.churn, found.coverage, found.comparisons) == (0.0, 0.25, ())
    assert contest(now, {}, {"q1": 1.0, "q2": 3.0}, sold="abc")[0].churn is None
