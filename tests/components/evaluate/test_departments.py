import numpy as np
import pytest

from components.evaluate import departments
from components.evaluate.config import EvaluateConfig


def config(**settings):
    return EvaluateConfig(**{"resamples": 500, **settings})


def column(values):
    return {"leaf_precision_at_10": np.array(values, float)}


def judged(given, settings):
    return departments.checks(departments.changes(given, settings), settings)


def pairs(name, groups, ours, theirs):
    return departments.Pairs(name, groups, ours, theirs)


def test_departments_with_enough_queries_are_guarded():
    groups = ["seat"] * 20 + ["table"] * 20 + ["few"] * 5 + [""] * 20
    theirs = column(np.full(65, 0.6))
    ours = column(np.where(np.array(groups) == "table", 0.2, 0.6))
    [failed] = judged([pairs("items", groups, ours, theirs)], config())
    assert (failed.slice, failed.status) == ("items:table", "fail")
    assert "shown to be more than 0.05 worse" in failed.reason
    assert "after Holm's correction" in failed.reason
    assert failed.observed == pytest.approx(-0.4)


def test_departments_that_all_hold_are_one_check():
    groups = ["seat"] * 20 + ["table"] * 20 + ["few"] * 5
    theirs = column(np.full(45, 0.6))
    ours = column(np.where(np.array(groups) == "seat", 0.58, 0.7))
    one = pairs("items", groups, ours, theirs)
    [check] = judged([one], config())
    assert (check.name, check.slice, check.status) == ("departments_change", "items", "pass")
    assert check.observed == pytest.approx(-0.02)
    assert "none of 2 departments" in check.reason
    assert "items:seat" in check.reason
    assert "too few queries to guard few" in check.reason
    few = departments.Pairs("items", ["few"] * 5, column([0.1] * 5), column([0.9] * 5))
    assert judged([few], config()) == []
    # Photos and catalog images each have their line.
    both = [one, pairs("shopper", groups, ours, theirs)]
    assert [c.slice for c in judged(both, config())] == ["items", "shopper"]


def test_one_unlucky_department_of_many_is_not_blamed():
    rng = np.random.default_rng(3)
    groups = [f"d{n:02}" for n in range(30) for _ in range(25)]
    theirs = column(np.full(len(groups), 0.6))
    blamed = corrected = 0
    for _ in range(25):
        # Exactly the margin worse everywhere: the worst that is still allowed.
        ours = column(0.55 + 0.2 * rng.standard_normal(len(groups)))
        found = judged([pairs("items", groups, ours, theirs)], config())
        corrected += any(check.status == "fail" for check in found)
        for number in range(30):
            rows = slice(25 * number, 25 * (number + 1))
            alone = pairs(
                "items",
                groups[rows],
                {"leaf_precision_at_10": ours["leaf_precision_at_10"][rows]},
                column(np.full(25, 0.6)),
            )
            if judged([alone], config())[0].status == "fail":
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
    found = judged(
        [pairs("items", groups, column(ours), column(np.full(len(groups), 0.6)))], config()
    )
    assert [check.slice for check in found if check.status == "fail"] == ["items:d000"]


def test_every_department_is_reported_guarded_or_not():
    groups = ["seat"] * 20 + ["few"] * 5
    theirs = column(np.full(25, 0.6))
    ours = column(np.where(np.array(groups) == "few", 0.5, 0.7))
    few, seat = departments.changes([pairs("items", groups, ours, theirs)], config())
    assert (few.department, few.queries, few.p_value) == ("few", 5, None)
    assert (seat.department, seat.incumbent) == ("seat", pytest.approx(0.6))
    assert seat.mean == seat.lower == seat.upper == pytest.approx(0.1)
    assert seat.p_value == 1.0
