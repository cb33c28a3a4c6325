"""The plan as a file."""

from __future__ import annotations

import pytest

from components.contracts.errors import InputError
from components.human_eval.plan import Comparison, Draw, Pair, Plan


def small_plan(**changes):
    pairs = tuple(
        Pair(t, "q1", f"i{t}", "images/q.jpg", f"images/{t}.jpg", "d", side)
        for t, side in (("a", "candidate"), ("b", "candidate"), ("c", "incumbent"))
    )
    fields = {
        "version": "v1", "manifest_digest": "1" * 64, "incumbent": "", "incumbent_digest": "",
        "guideline": "1", "policy_digest": "2" * 64, "seed": 1, "sampling": "census",
        "churn": None, "guarded": ("d",), "traffic": {"d": 1.0}, "products": {"d": 1},
        "pairs": pairs,
        "draws": (Draw("q1", "d", "whole", ("a",)), Draw("q2", "d", "whole", ("b",))),
        "comparisons": (Comparison("q1", "b", "c"),),
    }  # fmt: skip
    return Plan(**{**fields, **changes})


def test_json_round_trip():
    plan = small_plan()
    assert Plan.from_json(plan.to_json(), source="plan.json") == plan


def test_recorded_tasks_interleave_the_streams_and_name_each_once():
    assert small_plan().recorded_tasks() == ("a", "b", "c")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 9}, "expected schema 2"),
        ({"draws": [{"query_id": "q"}]}, "not a sampling plan"),
        ({"surprise": 1}, "not a sampling plan"),
        ({"draws": [Draw("q", "d", "whole", ("zz",)).__dict__]}, "a task that the plan does not"),
    ],
)
def test_a_plan_that_cannot_be_trusted_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        Plan.from_json({**small_plan().to_json(), **change}, source="plan.json")
