"""The e-process against figures worked out by simulation code of its own, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contracts.errors import InputError
from components.human_eval.eprocess import (
    STAKES,
    log_e,
    log_e_mirrored,
    log_e_path,
    lower_bound,
    mirrored_stakes,
    upper_bound,
)

SCORES = (1, 1, 0.8, 1, 0.6, 1, 1, 1, 0.8, 1) * 20
DIFFERENCES = (0, 0, 0, -1, 0, 0, 1, 0, 0, 0) * 10
TWENTY = math.log(20)


@pytest.mark.parametrize(
    ("n", "expected"), [(10, 0.602023), (50, 3.932561), (100, 8.974781), (200, 19.455239)]
)
def test_log_e_has_the_published_figures(n, expected):
    assert log_e(SCORES[:n], 0.8) == pytest.approx(expected, abs=5e-7)


def test_evidence_of_twenty_is_reached_first_at_forty_queries():
    path = log_e_path(SCORES, 0.8)
    assert int(np.argmax(path >= TWENTY)) + 1 == 40


@pytest.mark.parametrize(("n", "expected"), [(10, 0.580045), (50, 3.242938), (100, 7.021084)])
def test_non_inferiority_has_the_published_figures(n, expected):
    scores = (np.array(DIFFERENCES[:n]) + 1) / 2
    assert log_e(scores, 0.4) == pytest.approx(expected, abs=5e-7)


def test_bounds_have_the_published_figures():
    assert lower_bound(SCORES, alpha=0.05) == pytest.approx(0.888217, abs=5e-7)
    assert upper_bound(SCORES, alpha=0.05, stakes_at=0.8) == pytest.approx(0.943505, abs=5e-7)


def test_one_score_by_hand():
    # x = 1, m = .5: the factors are 1 + c; x = 0 gives 1 - c.
    assert log_e([1.0], 0.5) == pytest.approx(math.log(1 + sum(STAKES) / 5))
    assert log_e([0.0], 0.5) == pytest.approx(math.log(1 - sum(STAKES) / 5))
    # At m = .5 the mirror image bets the same stakes on the other side.
    assert log_e_mirrored([0.0], 0.5) == pytest.approx(math.log(1 + sum(STAKES) / 5))


def test_no_scores_are_no_evidence():
    assert log_e([], 0.8) == 0.0
    assert lower_bound([], alpha=0.05) == 0.0
    assert upper_bound([], alpha=0.05, stakes_at=0.8) == 1.0


def test_extreme_scores_keep_their_trivial_bounds():
    assert lower_bound([0.0] * 50, alpha=0.05) == 0.0
    assert upper_bound([1.0] * 50, alpha=0.05, stakes_at=0.8) == 1.0


@pytest.mark.parametrize("mean", [0.05, 0.2, 0.43])
def test_a_better_candidate_never_fails_at_a_low_threshold(mean):
    # Without the cap a factor is negative here, and its logarithm NaN.
    assert max(mirrored_stakes(mean)) == 0.95
    assert log_e_mirrored([1.0] * 200, mean) < 0.0


@pytest.mark.parametrize("bad", [math.nan, -0.001, 1.001, math.inf])
def test_scores_out_of_range_are_refused(bad):
    with pytest.raises(InputError, match="score 1: expected a number in"):
        log_e([0.5, bad], 0.8)
    with pytest.raises(InputError, match="score 1"):
        upper_bound([0.5, bad], alpha=0.05, stakes_at=0.8)


@pytest.mark.parametrize("mean", [0.0, 1.0, math.nan, -1.0])
def test_a_threshold_that_cannot_be_tested_is_refused(mean):
    with pytest.raises(InputError, match="hypothesised mean"):
        log_e([0.5], mean)


def test_a_thousand_queries_do_not_overflow():
    assert log_e([1.0] * 5000, 0.1) > 5000
    assert math.isfinite(log_e_mirrored([1.0] * 5000, 0.9))


scores = st.lists(st.floats(0, 1, allow_nan=False), min_size=1, max_size=40)


@given(scores, st.randoms(use_true_random=False))
def test_the_order_does_not_matter(values, random):
    shuffled = list(values)
    random.shuffle(shuffled)
    assert log_e(shuffled, 0.6) == pytest.approx(log_e(values, 0.6), abs=1e-9)


@given(scores)
def test_bounds_are_roots_around_the_mean(values):
    lower = lower_bound(values, alpha=0.05)
    upper = upper_bound(values, alpha=0.05, stakes_at=0.6)
    assert lower <= np.mean(values) + 1e-9
    assert upper >= np.mean(values) - 1e-9
    if lower > 1e-6:
        assert log_e(values, lower) == pytest.approx(TWENTY, abs=1e-4)
    if upper < 1 - 1e-6:
        assert log_e_mirrored(values, upper, stakes_at=0.6) == pytest.approx(TWENTY, abs=1e-4)


@given(scores)
def test_the_path_ends_where_the_whole_does(values):
    assert log_e_path(values, 0.6)[-1] == pytest.approx(log_e(values, 0.6), abs=1e-9)
    assert log_e_path(values, 0.6, mirrored=True)[-1] == pytest.approx(
        log_e_mirrored(values, 0.6), abs=1e-9
    )
