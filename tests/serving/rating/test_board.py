"""What the board gives out and what it counts."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from components.human_eval.owner_actions import Action, Actions
from components.human_eval.plan import Pair
from components.human_eval.raters import RaterReport
from components.human_eval.rating_records import Entry, Record, timestamp
from components.human_eval.ratings import Rating
from serving.rating.board import DONE, LIVE, NOT_ADMITTED, QUALIFYING, Board

from .conftest import write_campaign

START = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def make_board(tmp_path):
    def make(**options):
        earlier = options.pop("earlier", ())
        made = write_campaign(str(tmp_path / "registry"), **options)
        return Board(
            made.plan, made.config, campaign=made.campaign, created=START, allow_simulated=True,
            earlier=earlier, rng=random.Random(1),
        )  # fmt: skip

    return make


def record(task, rater="ann", grade=2, *, at=0.0, revision=0):
    when = timestamp(START + timedelta(seconds=at))
    return Record(task, rater, grade, 1.0, when, "c0ffee", "web", revision)


def say(board, *records):
    board.apply([Entry("", entry) for entry in records])


def qualify(board, rater="ann", *, wrong=0):
    for number, task in enumerate(board.work(rater, {}, 10)):
        gold = board.pairs[task].gold
        say(board, record(task, rater, 3 - gold if number < wrong else gold, at=number))


def live(board) -> list[Pair]:
    return [board.pairs[task] for task in board.plan.recorded_tasks()]


def test_practice_is_balanced_and_another_for_each_try(make_board):
    board = make_board()
    first = board.work("ann", {}, 10)
    golds = [board.pairs[task].gold for task in first]
    assert (golds.count(3), golds.count(0)) == (15, 15)
    for number, task in enumerate(first):
        # Everything is similar: J is 0.
        say(board, record(task, grade=3, at=number))

    assert board.phase("ann") == QUALIFYING
    second = board.work("ann", {}, 10)
    assert len(second) == 30
    assert not set(first) & set(second)
    for number, task in enumerate(second):
        say(board, record(task, grade=3, at=100 + number))
    assert board.phase("ann") == NOT_ADMITTED
    assert board.work("ann", {}, 10) == []


def test_golds_that_lack_few_ratings_come_first(make_board):
    board = make_board()
    qualify(board, "ann")
    qualify(board, "bob")
    qualify(board, "cay")
    of = {rater: set(board._raters[rater].golds) for rater in ("ann", "bob", "cay")}

    # Three raters bring the same golds to three ratings; the fourth begins new ones.
    assert of["ann"] == of["bob"] == of["cay"]
    assert not set(board.work("dan", {}, 10)) & of["ann"]


def test_live_work_comes_from_the_front_and_never_twice(make_board):
    board = make_board(queries=30)
    qualify(board)
    order = board.plan.recorded_tasks()

    given = board.work("ann", {}, 10)
    pairs = [task for task in given if board.pairs[task].gold is None]
    assert set(pairs) == set(order[:10])
    assert pairs != list(order[:10])
    say(board, *(record(task, at=50 + n) for n, task in enumerate(pairs[:4])))
    again = {t for t in board.work("ann", {}, 10) if board.pairs[t].gold is None}
    assert not again & set(pairs[:4])


def test_about_a_tenth_are_hidden_golds(make_board):
    board = make_board(queries=400, golds=100)
    qualify(board)
    # Much work at once: the share is seen in one draw.
    given = board.work("ann", {}, 500)
    golds = [task for task in given if board.pairs[task].gold is not None]

    assert 0.06 < len(golds) / len(given) < 0.14
    assert len(set(golds)) == len(golds)


def test_what_others_hold_is_not_given_out_beyond_the_need(make_board):
    board = make_board()
    qualify(board)
    first = board.plan.recorded_tasks()[0]

    assert first in board.work("ann", {first: 2}, 12)
    assert first not in board.work("ann", {first: 3}, 12)


def test_ratings_count_while_their_rater_does(make_board):
    board = make_board()
    task = live(board)[0].task_id
    say(board, record(task, "ann"))
    assert board.needed(task) == 3
    qualify(board, "ann")
    assert board.needed(task) == 2

    board.set_actions(Actions.of([Action("ban", "ann", "me", "x", "now")]))
    assert board.needed(task) == 3
    board.set_actions(Actions.of([]))
    assert board.needed(task) == 2
    board.take_reports([RaterReport("ann", 1, 30, 1.0, 0.1, "banned_peers")])
    assert board.needed(task) == 3
    assert board.phase("ann") == NOT_ADMITTED


def test_who_cannot_tell_asks_for_two_more_and_the_owner_too(make_board):
    board = make_board()
    for rater in ("ann", "bob"):
        qualify(board, rater)
    task = live(board)[0].task_id
    say(board, record(task, "ann", None))
    assert board.needed(task) == 4
    say(board, record(task, "ann", 3, at=5, revision=1))
    assert board.needed(task) == 2
    board.set_actions(Actions.of([Action("reissue", task, "me", "x", "now")]))
    assert board.needed(task) == 4


def test_each_bad_record_is_counted_by_its_reason(make_board):
    board = make_board()
    task = live(board)[0].task_id
    other = Record(task, "ann", 1, 1.0, timestamp(START), "other", "web")
    early = record(task, "bob", at=-400)
    good = record(task, "ann", 2)
    say(
        board, other, early, record("nowhere"), good, good,
        record(task, "ann", 1, at=1), record(task, "ann", 0, at=200, revision=1),
    )  # fmt: skip
    board.apply([Entry("x", None, "truncated", "", 3)])

    assert board.answer("ann", task) == good
    assert board.set_aside == {
        "other_campaign": 1,
        "out_of_clock_order": 1,
        "unknown_task": 1,
        "doubled": 1,
        "late_correction": 1,
        "truncated": 3,
    }


def test_the_order_of_arrival_changes_nothing(make_board):
    board = make_board()
    records = [
        record(task, rater, (len(rater) + n) % 4, at=n)
        for n, task in enumerate(board.pairs)
        for rater in ("ann", "bob", "carla")
    ]
    say(board, *records)
    shuffled = make_board()
    random.Random(3).shuffle(records)
    for entry in records:
        say(shuffled, entry)

    for rater in ("ann", "bob", "carla"):
        assert shuffled.phase(rater) == board.phase(rater)
    assert [shuffled.needed(p.task_id) for p in live(board)] == [
        board.needed(p.task_id) for p in live(board)
    ]


def test_earlier_raters_count_and_need_no_practice(make_board, tmp_path):
    made = write_campaign(str(tmp_path / "registry"))
    task = made.plan.recorded_tasks()[0]
    board = make_board(earlier=[Rating(task, rater, 2, 1.0) for rater in ("old", "older")])
    assert board.needed(task) == 3
    report = {name: RaterReport(name, 9, 40, 0.9, 0.8, "counted") for name in ("old", "older")}
    board.take_reports(list(report.values()))

    assert board.needed(task) == 1
    assert board.phase("old") == LIVE
    # Nobody is asked what they have said before.
    assert task not in board.work("old", {}, 20)
    board.take_reports([report["older"], RaterReport("old", 9, 40, 0.1, None, "banned_golds")])
    assert board.needed(task) == 2
    assert board.phase("old") == NOT_ADMITTED


def test_a_quarter_is_the_most(make_board):
    board = make_board(queries=2)
    qualify(board)
    # 4 pairs, 12 ratings, a quarter is 3.
    for number in range(3):
        (task, *_) = [t for t in board.work("ann", {}, 1) if board.pairs[t].gold is None]
        say(board, record(task, at=60 + number))
    assert board.phase("ann") == DONE
    assert board.work("ann", {}, 5) == []


def test_disputed_pairs_are_those_two_grades_apart(make_board):
    board = make_board()
    for rater in ("ann", "bob", "cay"):
        qualify(board, rater)
    calm, near, split = (pair.task_id for pair in live(board)[:3])
    for task, grades in ((calm, (2, 3, 3)), (near, (0, 1, 1)), (split, (0, 3, 3))):
        for rater, grade in zip(("ann", "bob", "cay"), grades, strict=True):
            say(board, record(task, rater, grade, at=70))

    assert [pair.task_id for pair, _ in board.disputed(9)] == [split]


def test_progress_counts_a_stretch_from_the_last_longer_pause(make_board):
    board = make_board()
    qualify(board)
    tasks = [pair.task_id for pair in live(board)]
    say(board, *(record(task, at=1000 + 120 * n) for n, task in enumerate(tasks[:6])))
    found = board.progress("ann", now=START.timestamp() + 1650)

    assert found.stretch_s == 600
    assert found.rated == 6
    assert board.progress("ann", now=START.timestamp() + 2000).stretch_s == 0
