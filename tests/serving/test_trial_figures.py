from __future__ import annotations

from serving.trial_figures import Figures, TrialLimits

LIMITS = TrialLimits(
    min_answers=100, max_failed=0.01, max_empty=0.02, max_slower=2.0, max_slower_seconds=0.005
)


def figures(*, live=(0.010, 0.0), other=(0.010, 0.0), failed=0, answers=200):
    """Answers with a time and a share of empty ones, of both."""
    made = Figures()
    for canary, (seconds, empty) in ((False, live), (True, other)):
        for number in range(answers):
            made.note(canary=canary, seconds=seconds, empty=number < empty * answers)
    for _ in range(failed):
        made.note_failure()
    return made


def test_one_that_is_as_good_stays():
    assert figures().passed_limit(LIMITS) == ""


def test_few_answers_say_nothing():
    assert figures(failed=5, answers=50).passed_limit(LIMITS) == ""


def test_failures_past_their_share_end_it():
    assert figures(failed=2).passed_limit(LIMITS) == ""
    assert figures(failed=3).passed_limit(LIMITS).startswith("1.5% of its requests failed")


def test_empty_answers_are_compared_with_the_live_ones():
    assert figures(live=(0.01, 0.05), other=(0.01, 0.065)).passed_limit(LIMITS) == ""
    reason = figures(live=(0.01, 0.05), other=(0.01, 0.08)).passed_limit(LIMITS)
    assert reason == "8.0% of its answers are empty, at most 7.0% may be"


def test_slowness_counts_past_the_factor_and_past_the_milliseconds():
    assert figures(other=(0.019, 0.0)).passed_limit(LIMITS) == ""
    assert "at most 20.0 ms may" in figures(other=(0.021, 0.0)).passed_limit(LIMITS)
    # Ten times as slow, but by less than five milliseconds.
    assert figures(live=(0.0004, 0.0), other=(0.004, 0.0)).passed_limit(LIMITS) == ""


def test_only_the_newest_answers_count():
    made = figures(other=(1.0, 1.0), answers=2000)
    for _ in range(2000):
        made.note(canary=True, seconds=0.01, empty=False)
    summary = made.summary()
    assert (summary.empty, summary.answers) == (0.0, 2000)
    assert summary.seconds_p95 == 0.01
