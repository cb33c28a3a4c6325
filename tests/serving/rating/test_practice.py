"""Golds: what practice asks, what passes it, and those hidden in live work."""

from __future__ import annotations

import random

import pytest

from components.human_eval.rating_records import Record
from serving.rating.practice import Practice, in_order

from .conftest import write_campaign


@pytest.fixture
def made(tmp_path):
    return write_campaign(str(tmp_path / "registry"), golds=40)


@pytest.fixture
def practice(made):
    return Practice(made.plan, made.config, random.Random(2))


def said(task, grade, second=0):
    return Record(
        task,
        "ann",
        grade,
        1.0,
        f"2026-01-01T00:{second // 60:02}:{second % 60:02}.000+00:00",
        "c",
        "web",
    )


def test_not_being_able_to_tell_is_wrong(practice, made):
    task = made.plan.golds[0].task_id
    similar = practice.similar(task)
    assert practice.right(said(task, 2)) is similar
    assert practice.right(said(task, 1)) is not similar
    assert not practice.right(said(task, None))


def test_youdens_index_of_040_passes_and_less_does_not(practice, made):
    positives = [g.task_id for g in made.plan.golds if g.gold][:15]
    negatives = [g.task_id for g in made.plan.golds if not g.gold][:15]

    def answers(hits, rejections):
        return [said(t, 3 if n < hits else 0) for n, t in enumerate(positives)] + [
            said(t, 0 if n < rejections else 3) for n, t in enumerate(negatives)
        ]

    # 15/15 + 6/15 - 1 = .40; one rejection fewer is .33.
    assert practice.passed(answers(15, 6))
    assert not practice.passed(answers(15, 5))
    # Always similar: 15/15 + 0 - 1 = 0.
    assert not practice.passed(answers(15, 0))


def test_the_second_attempt_counts_its_own_golds(practice):
    golds = {t: said(t, 3, n) for n, t in enumerate(practice.work({}, ()))}
    assert len(golds) == practice.size == 30
    assert practice.score(golds, 1) == (15, 30)
    assert practice.attempt(golds) == (2, 30)
    more = practice.work(golds, golds)
    assert len(more) == 30
    assert not set(more) & set(golds)
    golds |= {t: said(t, 3 if practice.similar(t) else 0, 60 + n) for n, t in enumerate(more)}
    assert practice.score(golds, 2) == (30, 30)
    assert practice.attempt(golds) == (2, 0)
    assert [r.task_id for r in in_order(golds)][30:] == more


def test_hidden_golds_keep_the_work_and_its_order(practice, made):
    live = [pair.task_id for pair in made.plan.live] * 20
    work = practice.hide(live, {})
    golds = {g.task_id for g in made.plan.golds}
    assert [task for task in work if task not in golds] == live
    hidden = [task for task in work if task in golds]
    assert len(hidden) == len(set(hidden)) > 0
    # Nothing was seen of either side: the similar one is due.
    assert all(practice.similar(task) for task in hidden)
