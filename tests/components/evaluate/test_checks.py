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


def pairs(name, groups, ours, theirs):
    return checks.Pairs(name, groups, ours, theirs)


def test_departments_with_enough_queries_are_guarded():
    groups = ["seat"] * 20 + ["table"] * 20 + ["few"] * 5 + [""] * 20
    theirs = column(np.full(65, 0.6))
    ours = column(np.where(np.array(groups) == "table", 0.2, 0.6))
    [failed] = checks.departments([pairs("items", groups, ours, theirs)], config())
    assert (failed.slice, failed.status) == ("items:table", "fail")
    assert "shown to be more than 0.05 worse" in failed.reason
    assert "for 2 tests" in failed.reason
    assert failed.observed == pytest.approx(-0.4)


def test_departments_that_all_hold_are_one_check():
    groups = ["seat"] * 20 + ["table"] * 20 + ["few"] * 5
    theirs = column(np.full(45, 0.6))
    ours = column(np.where(np.array(groups) == "seat", 0.58, 0.7))
    one = pairs("items", groups, ours, theirs)
    [check] = checks.departments([one], config())
    assert (check.name, check.slice, check.status) == ("departments_change", "items", "pass")
    assert check.observed == pytest.approx(-0.02)
    assert "none of 2 departments" in check.reason
    assert "items:seat" in check.reason
    assert "too few queries to guard few" in check.reason
    few = checks.Pairs("items", ["few"] * 5, column([0.1] * 5), column([0.9] * 5))
    assert checks.departments([few], config()) == []
    # Photos and catalog images each have their line.
    both = [one, pairs("shopper", groups, ours, theirs)]
    assert [c.slice for c in checks.departments(both, config())] == ["items", "shopper"]


def test_one_unlucky_department_of_many_is_not_blamed():
    rng = np.random.default_rng(3)
    groups = [f"d{n:02}" for n in range(30) for _ in range(25)]
    theirs = column(np.full(len(groups), 0.6))
    blamed = corrected = 0
    for _ in range(25):
        # Exactly the margin worse everywhere: the worst that is still allowed.
        ours = column(0.55 + 0.2 * rng.standard_normal(len(groups)))
        found = checks.departments([pairs("items", groups, ours, theirs)], config())
        corrected += any(check.status == "fail" for check in found)
        for number in range(30):
            rows = slice(25 * number, 25 * (number + 1))
            alone = pairs(
                "items",
                groups[rows],
                {"leaf_precision_at_10": ours["leaf_precision_at_10"][rows]},
                column(np.full(25, 0.6)),
            )
            if checks.departments([alone], config())[0].status == "fail":
                blamed += 1
                break
    # Without a correction 1 - 0.975^30 = 53% of such days would blame some department.
    assert blamed >= 8
    assert corrected <= 3


def test_a_department_that_is_much_worse_is_found_among_many():
    groups = [f"d{n:03}" for n in range(120) for _ in range(20)]
    rng = np.random.default_rng(0)
    ours = 0.6 + 0.1 * rng.standard_normal(len(groups))
    ours[:20] -= 0.5
    found = checks.departments(
        [pairs("items", groups, column(ours), column(np.full(len(groups), 0.6)))], config()
    )
    assert [check.slice for check in found if check.status == "fail"] == ["items:d000"]


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
