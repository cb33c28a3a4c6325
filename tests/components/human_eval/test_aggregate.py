"""From ratings to soft scores: completeness, "can't tell", and the label's own quality."""

from __future__ import annotations

import numpy as np
import pytest

from components.human_eval.aggregate import aggregate, screen
from components.human_eval.config import GateConfig
from components.human_eval.plan import CANDIDATE, INCUMBENT, Draw, Pair, Plan
from components.human_eval.ratings import Rating

CONFIG = GateConfig()
RATERS = ("ann", "bob", "cem", "dan", "eva")


def plan_of(live=(("a", CANDIDATE), ("b", CANDIDATE), ("c", INCUMBENT)), golds=100):
    pairs = [Pair(t, f"q{t}", t, "q.jpg", f"{t}.jpg", "d", side) for t, side in live]
    pairs += [
        Pair(f"g{n:03d}", f"qg{n}", f"g{n}", "q.jpg", f"g{n}.jpg", "d", CANDIDATE, 3 * (n % 2))
        for n in range(golds)
    ]
    return Plan(
        "v1", "1" * 64, "", "", "1", CONFIG.digest, 1, "census", None, ("d",), {"d": 1.0},
        {"d": 1}, tuple(pairs), tuple(Draw(f"q{t}", "d", "whole", (t,)) for t, _ in live), (),
    )  # fmt: skip


def gold_answers(plan, raters=RATERS):
    return [Rating(g.task_id, r, g.gold, 1.0) for g in plan.golds for r in raters]


def on(task, *grades):
    return [Rating(task, rater, grade, 1.0) for rater, grade in zip(RATERS, grades, strict=False)]


def test_scores_are_soft_and_only_for_completed_pairs():
    plan = plan_of()
    ratings = [*gold_answers(plan), *on("a", 3, 3, 2), *on("b", 0, 0)]
    labels = aggregate(plan, ratings, CONFIG)
    assert set(labels.scores) == {"a"}
    assert 0.95 < labels.scores["a"] < 1.0
    assert labels.needed == {"b": 1, "c": 3}
    assert labels.counted == {"ann": 2, "bob": 2, "cem": 1}


def test_where_someone_cannot_tell_two_more_are_asked():
    plan = plan_of()
    ratings = [*gold_answers(plan), *on("a", 3, None, 2)]
    assert aggregate(plan, ratings, CONFIG).needed["a"] == 2
    told = aggregate(plan, [*gold_answers(plan), *on("a", 3, None, 2, 3, 3)], CONFIG)
    assert told.scores["a"] > 0.9
    assert told.cant_tell == frozenset()


def test_what_nobody_can_tell_counts_against_the_candidate():
    plan = plan_of()
    unsure = (None, None, None, 3, 0)
    ratings = [*gold_answers(plan), *on("a", *unsure), *on("c", *unsure)]
    labels = aggregate(plan, ratings, CONFIG)
    assert labels.scores == {"a": 0.0, "c": 1.0}
    assert labels.cant_tell == {"a", "c"}


def test_raters_without_golds_do_not_count():
    plan = plan_of()
    ratings = [*gold_answers(plan, RATERS[:2]), *on("a", 3, 3, 3)]
    labels = aggregate(plan, ratings, CONFIG)
    assert labels.needed["a"] == 1
    assert {r.rater_id: r.standing for r in labels.raters}["cem"] == "unqualified"


def test_a_banned_raters_answers_are_asked_again():
    plan = plan_of()
    liar = [Rating(g.task_id, "liar", 3 - g.gold, 1.0) for g in plan.golds]
    ratings = [*gold_answers(plan), *liar, *on("a", 3, 3), Rating("a", "liar", 0, 1.0)]
    assert aggregate(plan, ratings, CONFIG).needed["a"] == 1


def test_the_label_quality_on_golds_is_that_of_three_ratings():
    plan = plan_of()
    labels = aggregate(plan, gold_answers(plan), CONFIG)
    assert (labels.gold_positives, labels.gold_negatives) == (50, 50)
    assert labels.youden == 1.0
    assert labels.youden_bound == pytest.approx(0.8578, abs=1e-4)
    # Two ratings are too few to label a gold as a live pair is labelled.
    few = aggregate(plan, gold_answers(plan, RATERS[:2]), CONFIG)
    assert (few.gold_positives, few.youden) == (0, None)


def test_a_gold_does_not_vouch_for_itself():
    """All raters call ten positives 0: clamping would hide that, the quality must not."""
    plan = plan_of()
    blind = {g.task_id for g in plan.golds if g.gold == 3 and int(g.task_id[1:]) < 20}
    ratings = [
        Rating(r.task_id, r.rater_id, 0 if r.task_id in blind else r.grade, 1.0)
        for r in gold_answers(plan)
    ]
    assert aggregate(plan, ratings, CONFIG).youden == pytest.approx(0.8)


def test_the_order_of_the_ratings_does_not_matter():
    plan = plan_of()
    ratings = [*gold_answers(plan), *on("a", 3, 1, 2), *on("b", 0, 2, 1), *on("c", 2, 2, 1)]
    turned = [ratings[i] for i in np.random.default_rng(1).permutation(len(ratings))]
    assert aggregate(plan, turned, CONFIG) == aggregate(plan, ratings, CONFIG)


def test_no_ratings_at_all():
    labels = aggregate(plan_of(), [], CONFIG)
    assert labels.scores == {}
    assert labels.needed == {"a": 3, "b": 3, "c": 3}
    assert (labels.youden, labels.alpha, labels.simulated) == (None, None, False)


def test_screening_agrees_with_the_aggregate():
    plan = plan_of()
    ratings = [*gold_answers(plan), *on("a", 3, 3, 2), *on("b", 0, 0)]
    screening, labels = screen(plan, ratings, CONFIG), aggregate(plan, ratings, CONFIG)
    assert screening.still_needed() == labels.needed
    assert screening.reports == labels.raters


def test_a_simulated_rating_marks_everything():
    labels = aggregate(plan_of(), [Rating("a", "simulated:careful-01", 3, 1.0)], CONFIG)
    assert labels.simulated
