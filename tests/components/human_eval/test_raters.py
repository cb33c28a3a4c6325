"""Who may judge: Youden's index by hand, exact bounds against scipy, and the three bad habits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from components.human_eval.raters import (
    CANT_TELL,
    binomial_lower_bound,
    judge_raters,
    youden,
    youden_lower_bound,
)

GOLDS = np.array([3] * 15 + [0] * 15 + [-1] * 60)


def judged(answers):
    """Judges raters who all answer all 90 tasks; `answers` is [raters, 90]."""
    answers = np.asarray(answers)
    n, size = answers.shape
    return judge_raters(
        tuple(f"r{i}" for i in range(n)),
        np.tile(np.arange(size), n),
        np.repeat(np.arange(n), size),
        answers.reshape(-1),
        GOLDS,
        least_golds=30,
        gold_youden=0.40,
        peer_youden=0.25,
    )


TRUTH = np.array([3] * 15 + [0] * 15 + [2, 0] * 30)


def test_youden_by_hand():
    truth = np.array([True] * 4 + [False] * 2)
    said = np.array([True, True, True, False, False, True])
    assert youden(said, truth) == pytest.approx(3 / 4 + 1 / 2 - 1)
    assert youden(truth, truth) == 1.0
    assert youden(said[:4], truth[:4]) is None


@pytest.mark.parametrize(("hits", "trials"), [(50, 50), (47, 50), (1, 30), (15, 15)])
def test_the_binomial_bound_agrees_with_scipy(hits, trials):
    expected = stats.beta.ppf(0.025, hits, trials - hits + 1)
    assert binomial_lower_bound(hits, trials, alpha=0.025) == pytest.approx(expected, abs=1e-9)


def test_bounds_without_evidence_are_zero():
    assert binomial_lower_bound(0, 50, alpha=0.05) == 0.0
    assert binomial_lower_bound(0, 0, alpha=0.05) == 0.0


def test_fifty_and_fifty_perfect_golds_just_reach_the_cap():
    # .025 ** (1 / 50) = .9289: twice that less one.
    assert youden_lower_bound(50, 50, 50, 50, alpha=0.05) == pytest.approx(0.8578, abs=1e-4)


def test_always_similar_is_banned_by_golds_whatever_its_accuracy():
    reports = judged([TRUTH, TRUTH, TRUTH, np.full(90, 3)])
    assert [report.standing for report in reports] == ["counted"] * 3 + ["banned_golds"]
    assert reports[3].gold_youden == 0.0


def test_gold_savvy_raters_pass_the_golds_and_fail_their_peers():
    savvy = np.where(GOLDS >= 0, GOLDS, 3)
    reports = judged([TRUTH, TRUTH, TRUTH, savvy])
    assert reports[3].gold_youden == 1.0
    assert reports[3].peer_youden == 0.0
    assert reports[3].standing == "banned_peers"
    assert [report.standing for report in reports[:3]] == ["counted"] * 3


def test_adversarial_raters_are_banned():
    assert judged([TRUTH, TRUTH, TRUTH, 3 - TRUTH])[3].standing == "banned_golds"


def test_too_few_or_one_sided_golds_do_not_qualify():
    golds = np.array([3] * 30 + [0] * 14)
    reports = judge_raters(
        ("r",), np.arange(44), np.zeros(44, dtype=int), golds, golds,
        least_golds=30, gold_youden=0.4, peer_youden=0.25,
    )  # fmt: skip
    assert reports[0].standing == "unqualified"
    assert reports[0].gold_youden is None


def test_not_being_able_to_tell_a_gold_is_a_wrong_answer():
    unsure = TRUTH.copy()
    unsure[:5] = CANT_TELL
    unsure[15:20] = CANT_TELL
    assert judged([TRUTH, TRUTH, TRUTH, unsure])[3].gold_youden == pytest.approx(1 / 3)


def test_a_rater_exactly_at_the_limit_stays():
    # 9 of 15 and 12 of 15: .6 + .8 - 1, which floating point puts a hair below .4.
    limit = TRUTH.copy()
    limit[:6] = 0
    limit[15:18] = 3
    assert judged([TRUTH, TRUTH, TRUTH, limit])[3].standing == "counted"


def test_peers_are_not_judged_on_a_handful_of_pairs():
    golds = GOLDS[:38]
    answers = np.stack([TRUTH[:38]] * 3 + [np.where(golds >= 0, golds, 3)])
    reports = judge_raters(
        ("a", "b", "c", "d"), np.tile(np.arange(38), 4), np.repeat(np.arange(4), 38),
        answers.reshape(-1), golds, least_golds=30, gold_youden=0.4, peer_youden=0.25,
    )  # fmt: skip
    assert reports[3].peer_youden is None
    assert reports[3].standing == "counted"
