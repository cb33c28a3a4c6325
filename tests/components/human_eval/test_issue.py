"""Which pairs are worth rating: what suffices is not asked again."""

from __future__ import annotations

from dataclasses import replace

from components.human_eval.aggregate import Labels
from components.human_eval.config import GateConfig
from components.human_eval.issue import wanted, worth_rating
from components.human_eval.plan import CANDIDATE, INCUMBENT, Comparison, Draw, Pair, Plan

CONFIG = GateConfig(
    tau=0.5, floor=0.3, measurement_allowance=0.01, first_look_pairs=50, anchor_required=False,
    margin=0.1,
)  # fmt: skip
DRAWS = tuple(
    Draw(f"q{n}", f"d{n % 2}", "d1" if n % 10 == 9 else "whole", (f"t{n:03d}",), (0,))
    for n in range(400)
)
PLAN = Plan(
    "v", "1" * 64, "w", "2" * 64, "1", CONFIG.digest, 1, "traffic", 0.5, ("d0", "d1"),
    {"d0": 0.5, "d1": 0.5}, {"d0": 1, "d1": 1},
    (*(Pair(d.tasks[0], d.query_id, "i", "q", "r", "d0", CANDIDATE) for d in DRAWS),
     *(Pair(f"x{n:03d}", f"q{n}", "j", "q", "r", "d0", INCUMBENT) for n in range(100))),
    DRAWS, tuple(Comparison(f"q{n}", f"t{n:03d}", f"x{n:03d}") for n in range(100)), 0.1,
)  # fmt: skip


def labels_of(scores):
    needed = {task: 3 for task in PLAN.recorded_tasks() if task not in scores}
    return Labels(scores, needed, frozenset(), (), {}, 50, 50, 1.0, 0.9, None, False)


def test_at_first_one_look_some_of_each_department_and_some_comparisons():
    tasks = wanted(PLAN, labels_of({}), CONFIG)
    assert tasks == [task for task in PLAN.recorded_tasks() if task in set(tasks)]
    whole = [d.tasks[0] for d in DRAWS if d.stream == "whole"][:25]
    assert set(whole) <= set(tasks)
    assert {f"x{n:03d}" for n in range(4)} <= set(tasks)
    assert len(tasks) < 40


def test_earlier_judgements_are_stepped_over():
    scores = {d.tasks[0]: 0.0 for d in DRAWS[:20]}
    tasks = wanted(PLAN, labels_of(scores), CONFIG)
    assert not set(scores) & set(tasks)
    assert DRAWS[20].tasks[0] in tasks


def test_what_suffices_asks_for_nothing_more():
    # Everything is similar: the departments suffice first, then the comparisons and the whole.
    scores = {d.tasks[0]: 1.0 for d in DRAWS[:30]}
    tasks = wanted(PLAN, labels_of(scores), CONFIG)
    assert any(task.startswith("x") for task in tasks)
    scores |= {f"x{n:03d}": 0.0 for n in range(30)}
    later = wanted(PLAN, labels_of(scores), CONFIG)
    assert not any(task.startswith("x") for task in later)
    department = {d.tasks[0] for d in DRAWS if d.stream == "d1"} - set(scores)
    assert not department & set(later)


def test_when_all_suffices_but_too_few_pairs_are_rated_the_whole_goes_on():
    scores = {d.tasks[0]: 1.0 for d in DRAWS[:60]} | {f"x{n:03d}": 0.0 for n in range(60)}
    tasks = wanted(PLAN, labels_of(scores), replace(CONFIG, first_look_pairs=1000))
    assert tasks
    assert not any(task.startswith("x") for task in tasks)


def test_with_everything_judged_nothing_is_left():
    assert wanted(PLAN, labels_of(dict.fromkeys(PLAN.recorded_tasks(), 0.5)), CONFIG) == []


def test_many_raters_get_more_at_once():
    few, many = (wanted(PLAN, labels_of({}), CONFIG, ahead=n) for n in (1, 4))
    assert set(few) < set(many)


def test_who_issues_work_asks_nearer_looks_first_and_stops_at_a_decision():
    labels = labels_of({})
    near = wanted(PLAN, labels, CONFIG)
    found = worth_rating(PLAN, labels, CONFIG, undecided=lambda _: True, ahead=(1, 2))
    assert found[: len(near)] == near
    assert set(found) == set(wanted(PLAN, labels, CONFIG, ahead=2))
    assert len(found) == len(set(found)) > len(near)
    assert worth_rating(PLAN, labels, CONFIG, undecided=lambda _: False) == []


def test_what_the_owner_asks_again_comes_first_even_when_all_is_decided():
    last = PLAN.recorded_tasks()[-1]
    labels = labels_of({})
    again = worth_rating(
        PLAN, labels, CONFIG, undecided=lambda _: False, asked_again={last: 2, "gone": 2}
    )
    assert again == [last]
    more = worth_rating(PLAN, labels, CONFIG, undecided=lambda _: True, asked_again={last: 2})
    assert more[0] == last


def test_a_census_is_rated_whole():
    census = replace(PLAN, sampling="census")
    rated = {PLAN.recorded_tasks()[0]: 1.0}
    found = worth_rating(census, labels_of(rated), CONFIG, undecided=lambda _: False)
    assert found == list(PLAN.recorded_tasks()[1:])
