from __future__ import annotations

import pytest

from serving.console.overview_page import server, tried

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
