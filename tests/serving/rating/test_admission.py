"""Which answers are taken, and the first reason for which they are not."""

from __future__ import annotations

import pytest

from components.human_eval.rating_records import Record
from serving.rating.admission import (
    Form,
    RefusedError,
    before_at,
    check_correction,
    check_form,
    read_form,
    record_of,
)
from serving.rating.standing import BANNED, LIVE

from .conftest import KEYS

NOW = 1_800_000_000.0
FORM = Form("c", "t1", 0, NOW - 4)


def token(**changed):
    return KEYS.sign("assignment", {"k": "c", "n": "ann", "t": "t1", "v": 0, "i": 1000, **changed})


def test_a_form_says_what_was_signed():
    assert read_form(KEYS, token(v=2), "ann") == Form("c", "t1", 2, 1.0)


@pytest.mark.parametrize(
    "bad", [token(n="bob"), token(v="x"), token()[:-2] + "zz", KEYS.sign("session", {}), ""]
)
def test_a_form_of_another_person_kind_or_key_is_tampered(bad):
    with pytest.raises(RefusedError) as refused:
        read_form(KEYS, bad, "ann")
    assert refused.value.reason == "tampered"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"campaign": "d"}, "other_campaign"),
        ({"open_now": False}, "closed"),
        ({"phase": BANNED}, "banned"),
        ({"tasks": ("t2",)}, "unknown_task"),
        ({"grade": "4"}, "grade_out_of_range"),
        ({"now": NOW - 100}, "out_of_clock_order"),
        ({"now": NOW + 13 * 3600}, "stale"),
    ],
)
def test_each_reason(change, reason):
    good = {
        "grade": "2", "phase": LIVE, "campaign": "c", "tasks": ("t1",), "open_now": True, "now": NOW
    }  # fmt: skip
    check_form(FORM, **good)
    with pytest.raises(RefusedError) as refused:
        check_form(FORM, **{**good, **change})
    assert refused.value.reason == reason


def test_a_correction_follows_its_answer_within_two_minutes():
    before = Record("t1", "ann", 1, 1.0, "2027-01-15T08:00:00.000+00:00", "c", "web")
    at = before_at(before)
    second = Form("c", "t1", 1, at)
    check_correction(second, before, now=at + 119)
    for form, known, when, reason in (
        (second, None, at, "doubled"),
        (Form("c", "t1", 2, at), before, at, "doubled"),
        (second, before, at + 121, "late_correction"),
    ):
        with pytest.raises(RefusedError) as refused:
            check_correction(form, known, now=when)
        assert refused.value.reason == reason


def test_a_record_keeps_the_time_taken_and_marks_simulated_raters():
    record = record_of(FORM, "ann", "cant_tell", "token", at=NOW, now=NOW)
    assert (record.grade, record.seconds, record.source) == (None, 4.0, "web")
    assert record.at.startswith("2027-01-15T08:00:00")
    assert record_of(FORM, "simulated:x-1", "3", "t", at=NOW, now=NOW).source == "simulated"
    assert record_of(FORM, "ann", "3", "t", at=NOW, now=NOW + 9e9).seconds == 3600.0
