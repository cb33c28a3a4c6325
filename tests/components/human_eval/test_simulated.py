"""Simulated raters: each habit does what its name says, and every record says who it is."""

from __future__ import annotations

import numpy as np
import pytest

from components.contracts.catalog import Item, Query
from components.contracts.errors import InputError
from components.contracts.taxonomy import Taxonomy
from components.human_eval.simulated import CONFUSIONS, Truth, panel, rate

TAXONOMY = Taxonomy.parse(
    b"taxon_id,parent_id,name\nroot,,All\nd1,root,One\nd2,root,Two\nl1,d1,A\nl2,d1,B\nl3,d2,C\n"
)


def shown(item_id, taxon, product):
    return Item(item_id, f"{item_id}.jpg", item_id * 16, taxon, product)


TRUTH = Truth.of(
    [shown("aaaa", "l1", "p1"), shown("bbbb", "l1", "p2"), shown("cccc", "l2", "p3"),
     shown("dddd", "l3", "p4"), shown("eeee", "gone", "p5")],
    [Query("q", "q.jpg", "f" * 64, "p1", "l1")],
    TAXONOMY,
)  # fmt: skip
QUERY = f"images/{'f' * 32}.jpg"


def image(name):
    return f"images/{(name * 16)[:32]}.png"


@pytest.mark.parametrize(
    ("name", "grade"),
    [("aaaa", 3), ("bbbb", 2), ("cccc", 1), ("dddd", 0), ("eeee", 0), ("zzzz", 0)],
)
def test_the_true_grade_of_a_pair(name, grade):
    assert TRUTH.grade(QUERY, image(name)) == grade


def test_confusions_are_distributions():
    for matrix in CONFUSIONS.values():
        assert np.asarray(matrix).shape == (4, 4)
        assert np.asarray(matrix).sum(axis=1) == pytest.approx(np.ones(4))


def answers(rater, name, n=2000, known=None):
    view = [
        {"task_id": f"t{i}", "query_image": QUERY, "result_image": image(name)} for i in range(n)
    ]
    work = {rater: [record["task_id"] for record in view]}
    found = rate(work, view, TRUTH, known_golds=known or {}, seed=1)
    assert {rating.rater_id for rating in found} == {rater}
    assert all(rating.simulated for rating in found)
    return found


@pytest.mark.parametrize("kind", ["careful", "sloppy", "adversarial"])
@pytest.mark.parametrize(("name", "true"), [("aaaa", 3), ("bbbb", 2), ("cccc", 1), ("dddd", 0)])
def test_errors_follow_the_raters_own_confusion(kind, name, true):
    grades = [r.grade for r in answers(f"simulated:{kind}-01", name) if r.grade is not None]
    share = np.bincount(grades, minlength=4) / len(grades)
    assert share == pytest.approx(CONFUSIONS[kind][true], abs=0.04)


def test_gold_savvy_raters_know_the_golds_and_nothing_else():
    known = {f"t{i}": 0 for i in range(50)}
    found = answers("simulated:gold_savvy-01", "dddd", known=known)
    assert {r.grade for r in found if r.task_id in known} == {0}
    assert {r.grade for r in found if r.task_id not in known} == {2, 3}


def test_an_answer_does_not_hang_on_the_order_of_the_work():
    view = [{"task_id": t, "query_image": QUERY, "result_image": image("bbbb")} for t in "abcdef"]
    one = rate({"simulated:sloppy-01": list("abcdef")}, view, TRUTH, known_golds={}, seed=1)
    other = rate({"simulated:sloppy-01": list("fedcba")}, view, TRUTH, known_golds={}, seed=1)
    assert sorted(one, key=lambda r: r.task_id) == sorted(other, key=lambda r: r.task_id)


def test_panels():
    assert panel("careful=2, gold_savvy=1") == (
        "simulated:careful-01", "simulated:careful-02", "simulated:gold_savvy-01",
    )  # fmt: skip
    for bad in ("kind=3", "careful", "careful=x", ""):
        with pytest.raises(InputError, match="panel"):
            panel(bad)
