"""Which records count, and why the others do not."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contracts.errors import SetAsideError
from components.human_eval.rating_records import (
    Entry,
    Record,
    countable,
    parse_record,
    read_entry,
    record_name,
)
from components.human_eval.ratings import Rating

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TASKS = ("t1", "t2")


def record(task="t1", rater="ann", grade=2, *, at=NOW, campaign="c", revision=0) -> Record:
    made = Record.of(Rating(task, rater, grade, 3.0), campaign=campaign, source="web", at=at)
    return Record(
        made.task_id, made.rater_id, made.grade, made.seconds, made.at, campaign, "web", revision
    )


def counted(*records, **options):
    entries = [Entry("x", r) if isinstance(r, Record) else r for r in records]
    return countable(
        entries,
        **{"campaign": "c", "tasks": TASKS, "created": NOW, "now": NOW + timedelta(hours=1)}
        | options,
    )


@pytest.mark.parametrize("grade", [0, 1, 2, 3, None])
def test_a_record_is_read_back_as_it_was(grade):
    written = record(grade=grade)

    assert parse_record(written.to_bytes()) == written
    assert written.name == record_name("t1", "ann", 0)


def changed(**fields) -> bytes:
    return json.dumps({**json.loads(record().to_bytes()), **fields}).encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (record().to_bytes()[:-20], "truncated"),
        (b"{]}", "malformed"),
        (b"[1]", "malformed"),
        (changed(extra=1), "malformed"),
        (changed(schema=2), "malformed"),
        (changed(revision=-1), "malformed"),
        (changed(revision=True), "malformed"),
        (changed(task_id=7), "malformed"),
        (changed(campaign="c" * 201), "malformed"),
        (changed(rater_id=""), "no_rater"),
        (changed(rater_id="a\nb"), "no_rater"),
        (changed(grade="4"), "grade_out_of_range"),
        (changed(grade=2), "grade_out_of_range"),
        (changed(seconds=-1), "seconds_out_of_range"),
        (changed(seconds=float("nan")), "seconds_out_of_range"),
        (changed(seconds="3"), "seconds_out_of_range"),
        (changed(at="yesterday"), "bad_time"),
        (changed(at="2026-11-22T12:00:00"), "bad_time"),
        (changed(simulated=True), "marks_disagree"),
        (changed(rater_id="simulated:x-01"), "marks_disagree"),
    ],
)
def test_what_cannot_count_says_why(data, reason):
    with pytest.raises(SetAsideError) as refused:
        parse_record(data)
    assert refused.value.reason == reason
    assert read_entry("x", data).reason == reason


def test_each_bad_record_is_set_aside_with_its_reason():
    found = counted(
        record(),
        record(),
        record(task="t9"),
        record(rater="bob", campaign="other"),
        record(rater="cay"),
        record(rater="simulated:careful-01"),
        record(rater="early", at=NOW - timedelta(minutes=6)),
        record(rater="late", at=NOW + timedelta(minutes=66)),
        Entry("segments/1", None, "segment_damaged", "cut", 3),
        banned=["cay"],
    )

    assert [rating.rater_id for rating in found.valid] == ["ann"]
    assert found.counts() == {
        "banned": 1,
        "doubled": 1,
        "other_campaign": 1,
        "out_of_clock_order": 2,
        "segment_damaged": 3,
        "simulated": 1,
        "unknown_task": 1,
    }


def test_clocks_may_differ_by_a_little():
    found = counted(record(at=NOW - timedelta(minutes=4)))

    assert len(found.valid) == 1


def test_a_correction_counts_in_its_window():
    first = record(grade=0)
    second = record(grade=3, at=NOW + timedelta(seconds=90), revision=1)
    third = record(grade=1, at=NOW + timedelta(seconds=200), revision=2)

    # The second is 90 s after the first, the third 110 s after the second.
    found = counted(third, first, second)
    assert [rating.grade for rating in found.valid] == [1]
    assert found.counts() == {"corrected": 2}


def test_a_correction_too_late_or_before_its_answer_does_not_count():
    late = record(grade=3, at=NOW + timedelta(seconds=121), revision=1)
    early = record(grade=3, at=NOW - timedelta(seconds=1), revision=1)

    for correction, reason in ((late, "late_correction"), (early, "out_of_clock_order")):
        found = counted(record(grade=0), correction)
        assert [rating.grade for rating in found.valid] == [0]
        assert found.counts() == {reason: 1}


bad = st.sampled_from(
    [
        record(task="nowhere"),
        record(campaign="other"),
        record(rater="banned"),
        record(rater="simulated:sloppy-01"),
        record(rater="bob", at=NOW - timedelta(days=1)),
        read_entry("new/x.json", record(rater="bob").to_bytes()[:-5]),
        read_entry("new/x.json", changed(grade="9")),
        Entry("segments/00000002.jsonl", None, "segment_missing"),
    ]
)
good = st.builds(
    record,
    task=st.sampled_from(TASKS),
    rater=st.sampled_from(["ann", "bob", "cay"]),
    grade=st.sampled_from([0, 1, 2, 3, None]),
)


@given(st.lists(good, max_size=8), st.lists(st.tuples(st.integers(0, 8), bad), max_size=8))
def test_bad_records_change_nothing_but_their_counts(records, intruders):
    alone = counted(*records, banned=["banned"])
    mixed = list(records)
    for place, intruder in intruders:
        mixed.insert(place, intruder)
    together = counted(*mixed, banned=["banned"])

    assert together.valid == alone.valid
    assert len(together.set_aside) == len(alone.set_aside) + len(intruders)
