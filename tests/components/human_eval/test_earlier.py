"""What earlier campaigns leave: the anchor, the refusals, and a whole week of campaigns."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from components.contracts.errors import InputError
from components.human_eval.earlier import Outcome, best_of, refused_of

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def ended(version, similarity=0.85, *, status="pass", days=1.0, simulated=False):
    at = (NOW - timedelta(days=days)).isoformat()
    return Outcome(f"c-{version}", version, version * 32, status, at, similarity, 0.8, 0.9,
                   simulated, 900, 0)  # fmt: skip


def best(*outcomes, **options):
    settings = {"now": NOW, "days": 28, "margin": 0.03, "simulated": False, **options}
    return best_of(outcomes, **settings)


def test_the_best_that_passed_in_28_days_is_the_anchor():
    found = best(ended("v1", 0.90, days=27), ended("v2", 0.88), ended("v3", 0.95, days=29),
                 ended("v4", 0.97, status="fail"), ended("v5", 0.99, simulated=True))  # fmt: skip
    assert (found.version, found.score, found.margin) == ("v1", 0.90, 0.03)
    assert best(ended("v5", 0.9, simulated=True), simulated=True).version == "v5"
    assert best(ended("v1", 0.9), ended("v2", 0.8), quarantined={"v1"}).version == "v2"
    assert best(ended("v1", 0.9, days=5), ended("v2", 0.9, days=2)).version == "v2"
    assert best(ended("v1", None)).version == ""
    assert best().version == ""


def test_refused_campaigns_of_thirty_days_are_counted():
    outcomes = [ended("a", status="fail", days=31), ended("b", status="fail", days=29),
                ended("c", status="expired"), ended("d")]  # fmt: skip
    assert refused_of(outcomes, now=NOW, days=30) == 2


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}"])
def test_an_outcome_that_cannot_be_read_is_refused(data):
    good = ended("v1")
    assert Outcome.from_bytes(good.to_bytes(), source="x") == good
    with pytest.raises(InputError, match="not a campaign's outcome"):
        Outcome.from_bytes(data, source="x")


def test_the_verdict_states_how_often_the_channel_refused_and_a_policy_divides_alpha(gate, policy):
    gate(version="bad", quality=0.1)
    config = policy(divide_alpha=True)
    verdict = gate(version="good", config=config, now=gate.now + timedelta(days=2))
    assert any("30 days before this one: 1." in note for note in verdict.notes)
    assert verdict.parameters["alpha_in_force"] == pytest.approx(0.025)
    assert gate(version="other", now=gate.now + timedelta(days=3)).parameters[
        "alpha_in_force"
    ] == pytest.approx(0.05)


def test_production_decides_from_the_second_version_on(gate, policy):
    """The anchor is the best of 28 days, not yesterday: a drift within the margin is refused."""
    config = policy(anchor_required=True, margin=0.2, anchor_margin=0.2, cap_high_churn=600)
    first = gate(version="v1", quality=0.95, config=config)
    assert first.status == "pass", first.summary()
    day = timedelta(days=1)
    second = gate(version="v2", quality=0.9, incumbent=0.95, before="v1", config=config,
                  now=gate.now + day)  # fmt: skip
    found = {check.name: check for check in second.checks}
    assert "the incumbent is the best version of the last 28 days" in found["anchor"].reason
    assert found["anchor"].status == "pass"
    # Against an incumbent as weak as itself it would pass; against the best of 28 days it fails.
    third = gate(version="v3", quality=0.55, incumbent=0.55, before="v9", config=config,
                 now=gate.now + 2 * day)  # fmt: skip
    found = {check.name: check for check in third.checks}
    assert found["non_inferiority"].status == "pass"
    assert found["anchor"].status == "fail"
    assert "below" in found["anchor"].reason
    assert third.status == "fail"
    assert gate.findings.plan.anchor.version in ("v1", "v2")
    assert replace(ended("x")) == ended("x")
