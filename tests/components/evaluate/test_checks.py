import numpy as np
import pytest

from components.contracts.errors import InputError
from components.evaluate import checks
from components.evaluate.config import EvaluateConfig


def config(**settings):
    return EvaluateConfig(**{"resamples": 500, **settings})


def column(values):
    return {"leaf_precision_at_10": np.array(values, float)}


def test_thresholds_that_are_off_give_no_check():
    assert checks.absolute(column([0.0]), column([0.0]), config()) == []


def test_thresholds_by_hand():
    shopper = {"leaf_hit_at_10": np.array([1, 0, 1, np.nan])}
    [passed] = checks.absolute(shopper, {}, config(min_leaf_hit_at_10=0.6))
    assert (passed.status, passed.slice) == ("pass", "shopper")
    assert passed.observed == pytest.approx(2 / 3)
    assert passed.lower <= passed.observed <= passed.upper
    [failed] = checks.absolute(shopper, {}, config(min_leaf_hit_at_10=0.7))
    assert failed.status == "fail"
    assert failed.reason == (
        "shopper: leaf_hit_at_10 is 0.667 over 3 queries, below the required 0.7"
    )
    [items] = checks.absolute({}, column([0.5]), config(min_item_leaf_precision_at_10=0.4))
    assert (items.status, items.slice) == ("pass", "items")


@pytest.mark.parametrize("shopper", [{}, {"leaf_hit_at_10": np.array([np.nan])}])
def test_a_threshold_without_evidence_fails(shopper):
    [check] = checks.absolute(shopper, {}, config(min_leaf_hit_at_10=0.1))
    assert check.status == "fail"
    assert "no query has a known answer" in check.reason


def test_a_candidate_as_good_as_the_incumbent_passes():
    values = column(np.random.default_rng(0).random(50))
    [check] = checks.against_incumbent("items", values, values, config())
    assert (check.status, check.observed, check.lower) == ("pass", 0.0, 0.0)
    assert check.incumbent == pytest.approx(values["leaf_precision_at_10"].mean())


def test_precision_must_be_shown_not_to_be_worse():
    theirs = np.full(40, 0.5)
    noisy = column(theirs + np.tile([0.4, -0.4], 20))  # No worse on average, but who knows.
    [check] = checks.against_incumbent("items", noisy, column(theirs), config(margin=0.02))
    assert check.lower < -0.02 < check.upper
    assert check.status == "fail"
    assert "not shown to be at most 0.02 worse" in check.reason


def test_hits_must_only_not_be_shown_to_be_worse():
    rng = np.random.default_rng(0)
    theirs = {"leaf_hit_at_10": (rng.random(60) < 0.6).astype(float)}
    ours = {"leaf_hit_at_10": (rng.random(60) < 0.6).astype(float)}
    [check] = checks.against_incumbent("shopper", ours, theirs, config())
    assert check.lower < -0.02 < check.upper
    assert check.status == "pass"
    [worse] = checks.against_incumbent(
        "shopper", {"leaf_hit_at_10": np.zeros(60)}, theirs, config()
    )
    assert worse.status == "fail"
    assert worse.upper < -0.02


def test_pairs_need_a_value_on_both_sides():
    ours, theirs = column([np.nan, 0.5, 0.5]), column([0.1, np.nan, 0.5])
    [check] = checks.against_incumbent("items", ours, theirs, config())
    assert "over 1 queries" in check.reason
    nothing = column([np.nan, np.nan, np.nan])
    assert checks.against_incumbent("items", nothing, theirs, config()) == []


def test_better_than_chance():
    chance = np.full(40, 0.1)
    better = checks.better_than_chance("items", column(np.full(40, 0.3)), chance, config())
    assert (better.status, better.observed) == ("pass", pytest.approx(0.2))
    same = np.tile([0.0, 0.2], 20)
    assert checks.better_than_chance("items", column(same), chance, config()).status == "fail"
    assert checks.better_than_chance("items", column([np.nan]), chance[:1], config()) is None
    assert checks.better_than_chance("items", {}, chance, config()) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_coverage": 1.2}, r"evaluate\.min_coverage: expected 0 to 1, received 1\.2"),
        ({"server_seconds": -1}, r"evaluate\.server_seconds: expected 0 or more"),
        ({"results_per_query": 5}, r"evaluate\.results_per_query: expected at least 10"),
        ({"confidence": 1}, r"evaluate\.confidence"),
    ],
)
def test_config_is_checked(settings, message):
    with pytest.raises(InputError, match=message):
        EvaluateConfig(**settings)
