"""No rater gives too much, and a small panel ends its campaign."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from serving.rating.fairness import keeps_last, left_to, raters_short

from .test_board import make_board, qualify, record, say

__all__ = ["make_board"]
RATERS = ("ann", "bob", "cay", "dan", "eve")


@pytest.mark.parametrize(
    ("given", "left"),
    [
        # The mean is 6: ann is ahead with two others, dan and eve are behind.
        ({"ann": 9, "bob": 9, "cay": 9, "dan": 3, "eve": 0}, ("dan", "eve")),
        # Three behind can end it among themselves.
        ({"ann": 9, "bob": 9, "cay": 0, "dan": 0, "eve": 0}, ()),
        # Nobody is ahead of anybody.
        (dict.fromkeys(RATERS, 7), ()),
        # Five ahead can end it under a quarter each.
        ({"ann": 9, "bob": 9, "cay": 9, "dan": 9, "eve": 9, "fay": 0}, ()),
        ({"bob": 1}, ()),
    ],
)
def test_who_is_ahead_leaves_the_last_rating_to_the_few_behind(given, left):
    assert left_to("ann", given, each=3, most_share=0.25) == left


def test_the_last_rating_stays_only_with_who_can_give_it():
    answered = {"dan": {"t1"}, "eve": {"t1", "t2"}}.__getitem__
    assert not keeps_last("t1", 1, ("dan", "eve"), answered)
    assert keeps_last("t2", 1, ("dan", "eve"), answered)
    assert not keeps_last("t2", 2, ("dan", "eve"), answered)
    assert not keeps_last("t2", 1, (), answered)


@pytest.mark.parametrize(
    ("room", "counted", "short"),
    [
        # 10 pairs of 3 ratings, 7 a rater: four give 28 of 30, so one more is needed.
        (dict.fromkeys(RATERS[:4], 7), 4, 1),
        (dict.fromkeys(RATERS, 7), 5, 0),
        # Two give 14, 16 are missing: three more of 7; the gate wants five in any case.
        (dict.fromkeys(RATERS[:2], 7), 2, 3),
        ({}, 0, 5),
    ],
)
def test_missing_raters_are_counted_early(room, counted, short):
    pairs = {f"t{n}": 3 for n in range(10)}
    found = raters_short(pairs, room, lambda _: (), counted=counted, least=5, quota=7)
    assert found == short


def test_what_a_rater_has_answered_is_no_room():
    pairs = {"t1": 1, "t2": 1}
    seen = {"ann": {"t1", "t2"}, "bob": {"t1"}}.__getitem__
    # Bob gives one of two.
    found = raters_short(pairs, {"ann": 9, "bob": 9}, seen, counted=5, least=5, quota=9)
    assert found == 1


def test_nothing_open_needs_nobody():
    assert raters_short({}, {}, lambda _: (), counted=5, least=5, quota=9) == 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "speeds", [(1, 1, 1, 1, 1), (8, 8, 8, 1, 1), (20, 1, 1, 1, 1), (9, 9, 9, 9, 1), (5, 4, 3, 2, 1)]
)
def test_five_raters_of_any_speed_end_a_campaign(make_board, speeds, seed):
    board = make_board(queries=60)
    for rater in RATERS:
        qualify(board, rater)
    luck = random.Random(seed)
    idle = 0
    while board.totals().needed and idle < 200:
        rater = luck.choices(RATERS, speeds)[0]
        tasks = [t for t in board.work(rater, {}, 5) if board.pairs[t].gold is None]
        idle = 0 if tasks else idle + 1
        say(board, *(record(task, rater, at=100) for task in tasks))

    assert board.totals().needed == 0
    live = Counter(
        name for name in RATERS for t in board.plan.recorded_tasks() if board.answer(name, t)
    )
    assert sum(live.values()) == 360
    assert max(live.values()) <= 90


def test_the_owner_is_told_before_the_end(make_board):
    board = make_board(queries=60)
    assert board.totals().short == 5
    for rater in RATERS[:4]:
        qualify(board, rater)
    assert board.totals().short == 1
    qualify(board, "eve")
    assert board.totals().short == 0


def test_only_listed_pairs_are_given_out_and_the_quarter_is_of_these(make_board):
    board = make_board(queries=60)
    for rater in RATERS:
        qualify(board, rater)
    order = board.plan.recorded_tasks()
    listed = [order[7], order[2], order[30], order[31]]
    board.take_list(listed)
    # 4 pairs, 12 ratings, a quarter is 3: the most urgent ones.
    given = [t for t in board.work("ann", {}, 10) if board.pairs[t].gold is None]
    assert set(given) == set(listed[:3])
    assert board.totals().wanted == 12
    assert board.totals().needed == 360
    board.take_list([])
    assert board.work("ann", {}, 10) == []
    board.take_list(None)
    assert board.work("ann", {}, 10)
