from __future__ import annotations

from datetime import UTC, datetime

import pytest

from components.contracts.moments import ago, moment

NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("created", "words"),
    [
        ("2026-11-22T18:00:00Z", "2026-11-22 18:00 UTC (3 h ago)"),
        ("2026-11-22T19:00:00+01:00", "2026-11-22 18:00 UTC (3 h ago)"),
        ("2026-11-22T21:30:00+00:00", "2026-11-22 21:30 UTC (in the future: check the clocks)"),
        ("yesterday", "yesterday"),
        ("", "unknown"),
    ],
)
def test_a_moment_is_told_in_utc_and_by_its_distance(created, words):
    assert moment(created, now=NOW) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s ago"),
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7200, "2 h ago"),
        (172800, "2 days ago"),
    ],
)
def test_the_unit_is_the_one_that_matters(seconds, words):
    assert ago(seconds) == words
