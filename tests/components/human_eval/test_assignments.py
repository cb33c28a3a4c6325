"""Who rates what."""

from __future__ import annotations

from collections import Counter

from components.human_eval.aggregate import screen
from components.human_eval.answers import read_answers
from components.human_eval.assignments import live_work, qualification
from components.human_eval.sampling import draw_plan

SEATS = [f"s{n}" for n in range(8)]


def make_plan(tiny, policy, binding, tmp_path):
    answers = read_answers(tiny.answers(tmp_path / "c.jsonl", 0.6), kind="shopper", results=5)
    config = policy()
    plan, _ = draw_plan(
        binding, candidate=answers, incumbent=None, missing=(), shop=tiny.shop, config=config
    )
    return plan, config


def test_qualification_is_balanced_and_spread(tiny, policy, binding, tmp_path):
    plan, config = make_plan(tiny, policy, binding, tmp_path)
    grade = {gold.task_id: gold.gold for gold in plan.golds}
    work = qualification(plan, SEATS, config)
    for tasks in work.values():
        assert Counter(grade[task] for task in tasks) == {3: 15, 0: 15}
        assert len(set(tasks)) == 30
    used = Counter(task for tasks in work.values() for task in tasks)
    # Every gold that is used gets the ratings that it needs to measure the labels by.
    assert len(used) == 68
    assert min(used.values()) >= 3
    assert max(used.values()) - min(used.values()) <= 1


def test_golds_that_were_begun_are_completed_first(tiny, policy, binding, tmp_path):
    plan, config = make_plan(tiny, policy, binding, tmp_path)
    sides = (
        [g.task_id for g in plan.golds if g.gold],
        [g.task_id for g in plan.golds if not g.gold],
    )
    seen = {"a": {sides[0][7], sides[1][9]}, "b": {sides[0][7], sides[1][9]}, "c": set()}
    work = live_work(
        plan, dict.fromkeys([p.task_id for p in plan.live[:20]], 1), ["c"], seen, config
    )
    hidden = {task for task in work["c"] if task in {*sides[0], *sides[1]}}
    assert hidden == {sides[0][7], sides[1][9]}


def test_live_work_gives_each_pair_what_it_needs_and_nobody_a_task_twice(
    tiny, policy, binding, tmp_path
):
    plan, config = make_plan(tiny, policy, binding, tmp_path)
    needed = screen(plan, [], config).still_needed()
    first = qualification(plan, SEATS, config)
    seen = {seat: set(tasks) for seat, tasks in first.items()}
    work = live_work(plan, needed, SEATS, seen, config)
    golds = {gold.task_id for gold in plan.golds}
    given = Counter(task for tasks in work.values() for task in tasks if task not in golds)
    assert given == Counter(needed)
    for seat, tasks in work.items():
        assert len(set(tasks)) == len(tasks)
        assert not set(tasks) & seen[seat]
        hidden = sum(task in golds for task in tasks)
        assert 0.05 < hidden / len(tasks) < 0.15
    sizes = [len(tasks) for tasks in work.values()]
    assert max(sizes) - min(sizes) <= 2


def test_without_raters_there_is_no_work(tiny, policy, binding, tmp_path):
    plan, config = make_plan(tiny, policy, binding, tmp_path)
    assert live_work(plan, {plan.live[0].task_id: 3}, [], {}, config) == {}
    one = live_work(plan, {plan.live[0].task_id: 3}, ["s"], {"s": {plan.live[0].task_id}}, config)
    assert one == {"s": []}
