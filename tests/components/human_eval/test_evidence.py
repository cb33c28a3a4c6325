"""What is decided on, and every reason to refuse."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from components.human_eval.aggregate import Labels
from components.human_eval.config import GateConfig
from components.human_eval.evidence import (
    completed_prefix,
    components,
    look,
    quality_checks,
    streams,
)
from components.human_eval.plan import (
    CANDIDATE,
    INCUMBENT,
    POOLED,
    Anchor,
    Comparison,
    Draw,
    Pair,
    Plan,
)
from components.human_eval.raters import RaterReport

CONFIG = GateConfig.demo(tau=0.5, floor=0.3, first_look_pairs=50)
START = datetime(2026, 11, 22, tzinfo=UTC)


def rater(name, standing="counted"):
    return RaterReport(name, 100, 60, 0.9, 0.8, standing)


def labels_of(scores, **changes):
    fields = {
        "scores": scores, "needed": {}, "cant_tell": frozenset(),
        "raters": tuple(rater(f"r{n}") for n in range(6)),
        "counted": {f"r{n}": 50 for n in range(6)}, "gold_positives": 50, "gold_negatives": 50,
        "youden": 1.0, "youden_bound": 0.858, "alpha": 0.8, "simulated": False,
    }  # fmt: skip
    return Labels(**{**fields, **changes})


def plan_of(queries=60, departments=("d1", "d2"), churn=None, golds=(50, 50), **changes):
    draws = tuple(
        Draw(f"q{n}", departments[n % len(departments)], "whole", (f"t{n}",))
        for n in range(queries)
    )
    pairs = [Pair(f"t{n}", f"q{n}", "i", "q", "r", "d1", CANDIDATE) for n in range(queries)]
    pairs += [Pair(f"x{n}", f"q{n}", "j", "q", "r", "d1", INCUMBENT) for n in range(queries)]
    pairs += [
        Pair(f"g{n}", "q", "i", "q", "r", "d1", CANDIDATE, 3 if n < golds[0] else 0)
        for n in range(sum(golds))
    ]
    comparisons = (
        ()
        if churn is None
        else tuple(Comparison(f"q{n}", f"t{n}", f"x{n}") for n in range(queries))
    )
    share = 1 / len(departments)
    plan = Plan(
        "v1", "1" * 64, "" if churn is None else "v0", "", "1", CONFIG.digest, 1, "census", churn,
        ("d1",), dict.fromkeys(departments, share), dict.fromkeys(departments, 30),
        tuple(pairs), draws, comparisons,
    )  # fmt: skip
    return replace(plan, **changes)


def full(plan, score=0.9):
    return dict.fromkeys(plan.recorded_tasks(), score)


def test_only_the_contiguous_completed_prefix_counts():
    draws = plan_of(5).draws
    assert completed_prefix(draws, {"t0": 1.0, "t1": 0.5, "t3": 0.0, "t4": 0.0}) == (1.0, 0.5)
    assert completed_prefix(draws, {"t1": 1.0}) == ()


def test_a_query_scores_the_mean_of_its_slots_and_empty_slots_are_zero():
    draw = Draw("q", "d", "whole", ("a", "b"), (0, 1, 2, 3), 2)
    assert completed_prefix([draw], {"a": 1.0, "b": 0.5}) == (0.375,)
    assert completed_prefix([Draw("q", "d", "whole", (), (0, 1, 2, 3, 4), 5)], {}) == (0.0,)


def test_streams_are_the_whole_the_guarded_and_the_rest():
    plan = plan_of(6, departments=("d1", "d2", "d3"))
    extra = Draw("q9", "d1", "d1", ("t0",))
    found = streams(replace(plan, draws=(*plan.draws, extra)), ("d1",))
    assert {name: len(draws) for name, draws in found.items()} == {
        "whole": 6, "d1": 3, POOLED: 4
    }  # fmt: skip


def test_thresholds_carry_the_allowance_for_measurement():
    plan = plan_of()
    found = {c.slice: c.mean for c in components(plan, labels_of(full(plan)), CONFIG)}
    assert found == pytest.approx({"all": 0.51, "d1": 0.31, POOLED: 0.31})


def test_between_looks_the_whole_is_cut_to_the_last_look():
    plan = plan_of(60)
    scores = {f"t{n}": 1.0 for n in range(59)}
    assert len(components(plan, labels_of(scores), CONFIG)[0].scores) == 50
    assert len(components(plan, labels_of(full(plan)), CONFIG)[0].scores) == 60


def test_a_guarded_department_without_queries_blocks():
    plan = replace(plan_of(), guarded=("d1", "empty"))
    found = next(c for c in components(plan, labels_of(full(plan)), CONFIG) if c.slice == "empty")
    assert "no query" in found.blocked


def test_non_inferiority_by_hand():
    """chi = .4, delta = .1, J = .85: d > -.85 * .1 / .4 = -.2125, so m = .39375."""
    plan = plan_of(churn=0.4)
    scores = {**{f"t{n}": 0.6 for n in range(60)}, **{f"x{n}": 0.8 for n in range(60)}}
    found = components(replace(plan, margin=0.1), labels_of(scores), CONFIG)[-1]
    assert found.name == "non_inferiority"
    assert found.mean == pytest.approx(0.39375)
    assert found.scores[0] == pytest.approx(0.4)
    assert found.shown(found.scores[0]) == pytest.approx(0.4 * -0.2)
    assert found.shown(found.mean) == pytest.approx(-0.85 * 0.1)


def test_little_churn_holds_without_a_rating():
    found = components(plan_of(churn=0.1, margin=0.1), labels_of({}), CONFIG)[-1]
    assert found.held
    assert "10.0% of the result slots changed" in found.held


@pytest.mark.parametrize(
    ("plan", "labels", "word"),
    [
        (plan_of(churn=0.5, comparisons=()), {}, "no comparisons"),
        (
            replace(plan_of(churn=0.5), churn=None),
            {},
            "answers of the incumbent to the same queries are missing",
        ),
        (plan_of(churn=0.5), {"youden_bound": None}, "trusted"),
        (plan_of(churn=0.5), {"youden_bound": 0.69}, "trusted"),
    ],
)
def test_non_inferiority_that_cannot_be_tested_blocks(plan, labels, word):
    assert word in components(plan, labels_of(full(plan), **labels), CONFIG)[-1].blocked


def test_looks_begin_at_enough_queries_and_pairs():
    plan = plan_of(60)
    some = {f"t{n}": 1.0 for n in range(49)}
    times = {"created": START, "now": START}
    early = look(plan, labels_of(some, needed={"t50": 3}), CONFIG, **times)
    assert (early.allowed, early.deadline) == (False, "")
    assert "first look is at 50" in early.reason
    few = replace(CONFIG, first_look_pairs=1000)
    assert "the first look is at 1000" in look(plan, labels_of(full(plan)), few, **times).reason
    # Nothing more will come: the campaign ends without a decision.
    assert look(plan, labels_of(full(plan)), few, **times).deadline
    assert look(plan, labels_of(full(plan)), CONFIG, **times).allowed


def test_the_deadline():
    plan = plan_of(60)
    late = START + timedelta(hours=72, seconds=1)
    found = look(plan, labels_of(full(plan)), CONFIG, created=START, now=late)
    assert "72 hours" in found.deadline


def checks(plan=None, config=CONFIG, **changes):
    plan = plan or plan_of()
    labels = labels_of(full(plan), **changes)
    return {check.name: check for check in quality_checks(plan, labels, config)}


def test_a_sound_campaign_has_nothing_to_refuse():
    assert {check.status for check in checks().values()} == {"pass"}


@pytest.mark.parametrize(
    ("name", "plan", "changes"),
    [
        ("queries", plan_of(0), {}),
        ("gold_pool", plan_of(golds=(49, 50)), {}),
        ("gold_pool", plan_of(golds=(100, 49)), {}),
        ("golds_rated", None, {"gold_positives": 49}),
        ("golds_rated", None, {"gold_negatives": 49}),
        ("label_quality", None, {"youden_bound": 0.699}),
        ("label_quality", None, {"youden": None, "youden_bound": None}),
        ("raters", None, {"raters": tuple(rater(f"r{n}") for n in range(4))}),
        ("largest_rater_share", None, {"counted": {"r1": 26, "r2": 25, "r3": 25, "r4": 24}}),
        (
            "raters_banned",
            None,
            {"raters": (*(rater(f"r{n}") for n in range(7)),
                        *(rater(f"b{n}", "banned_golds") for n in range(5)))},
        ),
        (
            "golds_leaked",
            None,
            {"raters": (*(rater(f"r{n}") for n in range(5)),
                        *(rater(f"b{n}", "banned_peers") for n in range(2)))},
        ),
        ("raters_compared", None, {"raters": tuple(
            RaterReport(f"r{n}", 100, 60, 0.9, None if n < 4 else 0.8, "counted")
            for n in range(6))}),
        ("cant_tell", None, {"cant_tell": frozenset({"t0", "t1", "t2", "t3"})}),
    ],
)  # fmt: skip
def test_each_refusal_stands_alone(name, plan, changes):
    found = checks(plan, **changes)
    refused = {check.name for check in found.values() if check.status != "pass"}
    assert refused == {name}
    assert found[name].status == "fail"


def test_no_counted_label_is_no_small_share():
    assert checks(counted={})["largest_rater_share"].status == "fail"


def test_while_ratings_are_missing_a_refusal_may_be_mended():
    assert checks(gold_positives=3, needed={"t1": 2})["golds_rated"].status == "undecided"
    assert checks(plan_of(golds=(3, 3)), needed={"t1": 2})["gold_pool"].status == "fail"


PRODUCTION = replace(CONFIG, anchor_required=True, margin=0.1, anchor_margin=0.15)


def anchored(anchor, **changes):
    """The anchor's component of a plan with an incumbent."""
    plan = plan_of(
        churn=0.5, margin=0.1, policy_digest=PRODUCTION.digest, incumbent_digest="b" * 64,
        anchor=anchor, **changes,
    )  # fmt: skip
    return components(plan, labels_of(full(plan)), PRODUCTION)[-1]


def test_production_wants_an_anchor_next_to_yesterday():
    assert "drifts down unseen" in anchored(None).blocked
    plan = plan_of()
    assert all(c.name != "anchor" for c in components(plan, labels_of(full(plan)), PRODUCTION))


def test_where_the_incumbent_is_the_best_the_stricter_comparison_counts():
    best = Anchor("v0", "b" * 64, 0.9, 0.15)
    assert "the incumbent is the best version of the last 28 days" in anchored(best).held
    assert "no other version passed in the last 28 days" in anchored(Anchor(margin=0.15)).held
    looser = replace(PRODUCTION, margin=0.2)
    plan = plan_of(churn=0.5, margin=0.2, policy_digest=looser.digest, anchor=Anchor(margin=0.15))
    found = components(plan, labels_of(full(plan)), looser)[-1]
    assert "the candidate is not compared with it" in found.blocked


def test_an_older_version_is_the_anchor_on_its_own_churn_and_margin():
    """chi = .6, delta = .15, J = .85: d > -.2125, so m = .39375."""
    comparisons = tuple(Comparison(f"q{n}", f"t{n}", f"x{n}") for n in range(9))
    found = anchored(Anchor("v-9", "a" * 64, 0.95, 0.15, 1.0, 0.6, comparisons))
    assert (found.name, found.planned, found.blocked) == ("anchor", 9, "")
    assert found.mean == pytest.approx((1 - 0.85 * 0.15 / 0.6) / 2)
    assert "holds without a rating" in anchored(Anchor("v-9", "a" * 64, 0.9, 0.15, 1.0, 0.1)).held


@pytest.mark.parametrize(
    ("anchor", "word"),
    [
        (Anchor("v-9", "a" * 64, 0.95, 0.15, 0.4, 0.6), "only 40% of today's queries"),
        (Anchor("v-9", "a" * 64, 0.95, 0.15, 0.0, None), "only 0% of today's queries"),
        (Anchor("v-9", "a" * 64, 0.95, 0.15, 1.0, 0.6), "no comparisons"),
    ],
)
def test_an_anchor_that_cannot_be_compared_with_blocks(anchor, word):
    assert word in anchored(anchor).blocked


def test_a_slot_that_the_candidate_leaves_empty_counts_nothing():
    plan = plan_of(churn=0.5, margin=0.1, comparisons=(Comparison("q0", "", "x0"),))
    found = components(plan, labels_of({**full(plan), "x0": 0.8}), CONFIG)[-1]
    assert found.scores == pytest.approx((0.1,))
