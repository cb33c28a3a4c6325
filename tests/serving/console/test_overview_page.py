from __future__ import annotations

from datetime import UTC, datetime

import pytest

from serving.console.overview_page import render, server, tried
from serving.console.reading import Overview

TRIAL = {
    "channel": "next", "mode": "canary", "share": 0.05, "version": "v2", "active": True,
    "ended": None, "load_failed": None, "compared": 0, "overlap": None, "answers": 120,
    "failed": 0.0, "empty": 0.25, "live_empty": 0.125, "seconds_p95": 0.004,
    "live_seconds_p95": 0.002,
}  # fmt: skip


@pytest.mark.parametrize(
    ("served", "words"),
    [
        ({"version": "v1", "live": "v1"}, "up to date"),
        ({"version": "v1", "live": "v2"}, "is loading what is live"),
        ({"version": "v1", "live": "v1", "source_error": "no network"}, "cannot read the channel"),
        (
            {"version": "v1", "live": "v2", "failed": {"version": "v2", "reason": "<damaged>"}},
            "could not load what is live",
        ),
        ({"version": None}, "not ready"),
    ],
)
def test_a_server_says_whether_it_answers_with_what_it_should(served, words):
    text = server(served, "prod")
    assert words in text
    assert "<damaged>" not in text


def test_trouble_stands_first():
    seen = Overview(datetime.now(UTC), (), (), 0)
    channels = "No channel yet"
    well = render(seen, {"version": "v1", "live": "v1"}, channel="prod")
    assert well.index(channels) < well.index("up to date")
    failed = {"version": "v1", "live": "v2", "failed": {"version": "v2", "reason": "damaged"}}
    ill = render(seen, failed, channel="prod")
    assert ill.index("could not load what is live") < ill.index(channels)


def test_a_process_that_was_not_asked_shows_no_figures_of_a_trial():
    text = tried({**TRIAL, "answers": 0, "failed": None, "ended": "it was slow"})
    assert "No request of this process" in text
    assert "it was slow" in text
    assert "<table" not in text


def test_only_a_shadow_is_compared_answer_by_answer():
    assert "in common" not in tried(TRIAL)
    text = tried({**TRIAL, "mode": "shadow", "compared": 4321, "overlap": 0.875})
    assert "4,321" in text
    assert "87.5%" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "running"),
        ({"ended": "2.0% of its requests failed"}, "switched off"),
        ({"load_failed": {"version": "v2", "reason": "damaged"}}, "could not be loaded"),
        ({"active": False}, "nothing to try"),
    ],
)
def test_a_trial_is_told_with_its_figures(changes, words):
    text = tried({**TRIAL, **changes})
    for expected in (words, "5% of the requests", "25.0%", "12.5%", "4.0 ms", "2.0 ms", "120"):
        assert expected in text
