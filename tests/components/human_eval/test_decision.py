"""Pass, fail, undecided, expired: from scores alone."""

from __future__ import annotations

import math

import pytest

from components.contracts.errors import InputError
from components.contracts.verdict import combine
from components.human_eval.decision import Component, Look, decide
from components.human_eval.eprocess import log_e

NOW = Look(allowed=True)
SCORES = (1, 1, 0.8, 1, 0.6, 1, 1, 1, 0.8, 1) * 20


def component(scores, mean=0.8, planned=1000, name="similarity", **options):
    return Component(name, "all", tuple(scores), mean, planned, **options)


def decided(*components, look=NOW):
    return decide(components, alpha=0.05, look=look)


def test_it_passes_from_the_fortieth_query_on():
    assert decided(component(SCORES[:39]))[0].status == "undecided"
    check = decided(component(SCORES[:40]))[0]
    assert check.status == "pass"
    assert log_e(SCORES[:40], 0.8) >= math.log(20)
    assert check.requirement == "> 0.800"


def test_bounds_and_value_are_given():
    check = decided(component(SCORES))[0]
    assert check.observed == pytest.approx(0.92)
    assert check.lower == pytest.approx(0.888217, abs=1e-6)
    assert check.upper == pytest.approx(0.943505, abs=1e-6)


def test_all_components_must_hold_at_the_same_look():
    checks = decided(component(SCORES), component(SCORES[:20]))
    assert [check.status for check in checks] == ["pass", "undecided"]
    assert combine(checks) == "undecided"


def test_failing_takes_more_evidence_where_there_are_more_components():
    # m = .5, zeros: each multiplies a stake by 1 + c; 8 zeros give 32-fold evidence.
    zeros = component([0.0] * 8, mean=0.5)
    assert decided(zeros)[0].status == "fail"
    assert decided(zeros, component(SCORES))[0].status == "undecided"


def test_a_better_candidate_does_not_fail_at_a_low_threshold():
    assert decided(component([0.9, 1.0, 0.8] * 50, mean=0.2))[0].status == "pass"


def test_it_expires_at_the_cap_and_at_the_deadline():
    assert decided(component(SCORES[:20], planned=20))[0].status == "expired"
    late = Look(allowed=True, deadline="the 72 hours of the campaign are over")
    check = decided(component(SCORES[:20]), look=late)[0]
    assert check.status == "expired"
    assert "72 hours" in check.reason
    assert decided(component([]), look=late)[0].status == "expired"
    # What has been shown stays shown.
    assert decided(component(SCORES), look=late)[0].status == "pass"


def test_before_the_first_look_nothing_is_decided():
    early = Look(allowed=False, reason="40 queries are complete, the first look is at 50")
    for scores in (SCORES, [0.0] * 200):
        check = decided(component(scores), look=early)[0]
        assert check.status == "undecided"
        assert "first look is at 50" in check.reason


def test_a_blocked_or_empty_component_never_passes():
    assert decided(component(SCORES, blocked="no comparisons"))[0].status == "undecided"
    assert decided(component([]))[0].status == "undecided"


def test_a_component_that_holds_without_a_rating_passes():
    check = decided(component([], held="nothing changed"))[0]
    assert (check.status, check.reason) == ("pass", "nothing changed")


def test_differences_are_shown_as_differences():
    scores = [(d + 1) / 2 for d in (0, 0, 0, -1, 0, 0, 1, 0, 0, 0) * 10]
    check = decided(component(scores, mean=0.4, scale=2.0, offset=-1.0))[0]
    assert check.status == "pass"
    assert check.observed == pytest.approx(0.0)
    assert check.requirement == "> -0.200"
    assert check.lower < 0 < check.upper


@pytest.mark.parametrize("bad", [math.nan, 1.2, -0.1])
def test_scores_that_are_no_scores_are_refused(bad):
    with pytest.raises(InputError, match="expected a number in"):
        decided(component([0.5, bad]))


def test_nothing_to_decide_on_is_refused():
    with pytest.raises(InputError, match="at least one component"):
        decided()


@pytest.mark.parametrize("alpha", [0.0, 0.7, math.nan])
def test_an_impossible_alpha_is_refused(alpha):
    with pytest.raises(InputError, match="alpha"):
        decide([component(SCORES)], alpha=alpha, look=NOW)
