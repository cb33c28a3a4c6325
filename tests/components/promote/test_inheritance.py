"""A delta lives on its origin's human verdict only where policy and measurement let it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from components.contracts.delta import CHANGED_RESULTS, DeltaLineage
from components.contracts.verdict import Check
from components.promote.promote import promote_candidate
from components.registry.policy import Policy
from components.registry.registry import Registry


class Grown:
    """v1 is live and people passed it; d1 is a delta of it with an offline verdict."""

    def __init__(self, root: Path, make_bundle, make_verdict) -> None:
        self.uri = str(root / "registry")
        self.registry = Registry.open(self.uri)
        self.root, self.make_bundle, self.make_verdict = root, make_bundle, make_verdict
        self.publish("v1")
        self.registry.move("prod", to="v1", who="tests", why="first")
        self.human = self.judge("human", "v1", incumbent="v0")
        self.publish_delta("d1", base="v1")
        self.registry.set_policy("prod", Policy(max_inherited_change=0.05))

    def publish(self, version: str, **bundle: Any) -> None:
        self.registry.publish_bundle(self.make_bundle(self.root / "built", version, **bundle))

    def publish_delta(self, version: str, *, base: str, origin: str = "v1", **changes: Any) -> None:
        digest = self.registry.manifest(origin)[1]
        lineage = DeltaLineage(origin, digest, base, 1, upserts=1, changed=1, changed_share=0.01)
        self.publish(version, lineage={"delta": {**asdict(lineage), **changes}})

    def judge(self, gate: str, version: str, **changes: Any) -> str:
        digest = self.registry.manifest(version)[1]
        changes = {"incumbent": self.registry.channel("prod").live, **changes}
        return self.registry.write_verdict(self.make_verdict(gate, version, digest, **changes))

    def measure(self, version: str = "d1", upper: float | None = 0.04, **changes: Any) -> str:
        values = {"slice": "v1", "observed": 0.01, "lower": 0.0, "upper": upper, **changes}
        status = values.pop("status", "pass")
        check = Check(CHANGED_RESULTS, status, "so many results have changed", **values)
        return self.judge("offline", version, checks=(check,), status=status)

    def promote(self, version: str = "d1", **changes: Any):
        arguments: dict[str, Any] = {
            "registry": self.uri,
            "channel": "prod",
            "version": version,
            "expected_incumbent": self.registry.channel("prod").live,
            "who": "alice",
            "why": "ten new sofas",
        }
        return promote_candidate(**(arguments | changes))

    def refused(self, version: str = "d1") -> str:
        before = self.registry.channel("prod").live
        outcome = self.promote(version)
        assert outcome.outcome == "refused"
        assert self.registry.channel("prod").live == before
        return "; ".join(outcome.reasons)


@pytest.fixture
def grown(tmp_path: Path, make_bundle, make_verdict) -> Grown:
    return Grown(tmp_path, make_bundle, make_verdict)


def test_a_small_delta_inherits_and_the_history_says_so(grown: Grown) -> None:
    offline = grown.measure()
    outcome = grown.promote()
    assert outcome.outcome == "promoted", outcome.reasons
    assert outcome.reasons == ("a delta of v1, whose human verdict it inherits",)
    entry = grown.registry.channel("prod").history[0]
    assert set(entry.verdicts) == {offline, grown.human}
    assert not entry.forced


def test_by_default_no_delta_inherits(grown: Grown) -> None:
    grown.registry.set_policy("prod", Policy(), replace=True)
    grown.measure(upper=0.0)
    assert "max_inherited_change is 0" in grown.refused()


def test_more_change_than_the_policy_allows_needs_people(grown: Grown) -> None:
    grown.measure(upper=0.0501)
    assert "up to 5.01% of the results are other than those of v1; at most 5.00%" in grown.refused()
    # Measuring again until it fits helps nobody.
    grown.measure(upper=0.01)
    assert "up to 5.01%" in grown.refused()
    # People may still judge the delta itself.
    grown.judge("human", "d1")
    assert grown.promote().outcome == "promoted"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"upper": None}, "it has no upper bound"),
        ({"slice": "v7"}, "it compares with v7"),
        ({"status": "fail"}, "does not say how many results have changed"),
    ],
)
def test_a_measurement_that_says_nothing_counts_against_it(grown: Grown, changes, reason) -> None:
    grown.measure(**changes)
    assert reason in grown.refused()


def test_an_offline_verdict_without_the_measurement(grown: Grown) -> None:
    grown.judge("offline", "d1")
    assert "does not say how many results have changed (it holds 0 such checks)" in grown.refused()


def test_without_an_offline_verdict_nothing_is_inherited(grown: Grown) -> None:
    reasons = grown.refused()
    assert "offline: there is no verdict on this bundle" in reasons
    assert "no offline verdict says how many results have changed" in reasons


def test_an_unreadable_offline_verdict_counts_against_it(grown: Grown) -> None:
    grown.measure()
    grown.registry.store.write("verdicts/d1/offline-broken.json", b"{")
    assert "offline-broken.json does not judge this bundle or cannot be read" in grown.refused()


def test_a_fail_by_people_is_never_inherited_away(grown: Grown) -> None:
    grown.measure()
    grown.judge("human", "d1", status="fail")
    assert "human: fail" in grown.refused()


def test_the_origins_own_verdict_must_hold(grown: Grown) -> None:
    grown.measure()
    grown.judge("human", "v1", status="fail")
    assert "human: fail (recall@10 is a fail) (inherited from v1)" in grown.refused()


def test_an_origin_that_nobody_judged_has_nothing_to_give(grown: Grown) -> None:
    grown.measure()
    for info in list(grown.registry.store.list("verdicts/v1/")):
        grown.registry.store.delete(info.key)
    assert "human: there is no verdict on this bundle (inherited from v1)" in grown.refused()


def test_an_origin_judged_by_simulated_raters_needs_a_policy_that_allows_them(grown: Grown) -> None:
    grown.measure()
    grown.judge("human", "v1", simulated=True)
    assert "simulated ratings" in grown.refused()


def test_a_delta_of_a_delta_is_measured_against_the_origin(grown: Grown) -> None:
    grown.measure()
    assert grown.promote().outcome == "promoted"
    grown.publish_delta("d2", base="d1")
    grown.measure("d2")
    outcome = grown.promote("d2")
    assert outcome.outcome == "promoted", outcome.reasons
    assert grown.human in grown.registry.channel("prod").history[0].verdicts


def test_a_channel_that_has_left_the_origin_takes_no_delta_of_it(grown: Grown) -> None:
    grown.publish("v2")
    grown.registry.move("prod", to="v2", who="tests", why="a better one")
    grown.measure()
    assert "v2 is live, which did not come from v1" in grown.refused()


def test_a_lineage_that_names_another_manifest(grown: Grown) -> None:
    grown.publish_delta("d2", base="v1", origin_digest="0" * 64)
    grown.measure("d2")
    assert "v1 is not the build that this delta was made from" in grown.refused("d2")


def test_a_lineage_that_cannot_be_read(grown: Grown) -> None:
    grown.publish_delta("d2", base="v1", surprise=1)
    grown.measure("d2")
    assert "where it comes from cannot be read" in grown.refused("d2")


def test_a_whole_build_inherits_nothing(grown: Grown) -> None:
    grown.publish("v2")
    grown.measure("v2")
    assert grown.refused("v2") == "human: there is no verdict on this bundle"


def test_force_is_still_force(grown: Grown) -> None:
    outcome = grown.promote(force=True)
    assert outcome.outcome == "promoted"
    assert all(reason.startswith("overridden by force") for reason in outcome.reasons)
    assert grown.registry.channel("prod").history[0].forced
