"""The step: publishes, waits within bounds, resumes; and the judge step of the release pipeline."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from components.contracts.errors import InputError
from components.contracts.files import read_json
from components.human_eval import step
from components.human_eval.rating_log import RatingLog
from components.human_eval.rating_records import Record
from components.human_eval.ratings import Rating


@pytest.fixture
def run(gate, make_bundle, tmp_path):
    for version in ("v1", "v2"):
        gate.registry.publish_bundle(make_bundle(tmp_path / "built", version))

    def call(version="v1", *, raters="simulated", quality=0.9, **changes):
        material = gate.material(version, quality)
        digest = gate.registry.manifest(version)[1]
        arguments = {
            "policy": "demo", "tau": 0.5, "floor": 0.05, "after_failed_evaluation": "skip",
            "wait_minutes": 0.0, "seed": 1, "offline": "pass", **changes,
        }  # fmt: skip
        offline = arguments.pop("offline")
        return step.run(
            str(material.checked), str(material.evaluation), str(tmp_path / "registry"), "prod",
            version, digest, "none", offline, raters, str(tmp_path / "out"),
            str(tmp_path / "verdict.md"), str(tmp_path / "report.html"), **arguments,
        )  # fmt: skip

    return call


def test_simulated_raters_decide_at_once(run, gate, tmp_path):
    status = run()
    assert status in ("pass", "undecided", "expired", "fail")
    stored = gate.registry.verdicts("v1")[-1]
    assert (stored.status, stored.simulated) == (status, True)
    assert read_json(tmp_path / "out" / "verdict.json")["status"] == status
    assert (tmp_path / "report.html").stat().st_size > 1000


def test_undecided_ends_cleanly_with_the_commands_and_the_same_run_resumes(run, gate, tmp_path):
    assert run(raters="web") == "undecided"
    notes = " ".join(gate.registry.verdicts("v1")[-1].notes)
    assert "lookalike rate --registry" in notes
    assert "lookalike eval judge" in notes
    first = gate.open().id
    assert run(raters="web") == "undecided"
    assert gate.open().id == first
    judged = step.judge(
        str(tmp_path / "registry"), "prod", "", str(tmp_path / "out2"), str(tmp_path / "v.md"),
        str(tmp_path / "r.html"), wait_minutes=0.0,
    )  # fmt: skip
    assert judged == ("undecided", "v1", "none", "none")
    # A newer candidate supersedes, and the older one has expired.
    assert run("v2", raters="web") == "undecided"
    assert run("v1", raters="web") == "expired"


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"raters": "none"}, "switched off"), ({"offline": "fail"}, "offline verdict is fail")],
)
def test_nobody_is_asked_in_vain(run, gate, changes, words):
    assert run(**changes) == "undecided"
    assert words in gate.registry.verdicts("v1")[-1].checks[0].reason
    assert not list(gate.store.list("campaigns/"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wait_minutes": -1.0}, "expected 0 to 10080"),
        ({"wait_minutes": float("nan")}, "expected 0 to 10080"),
        ({"raters": "crowd"}, "expected one of simulated, web, none"),
        ({"policy": "lax"}, "expected production or demo"),
        ({"after_failed_evaluation": "no"}, "expected skip or ask"),
    ],
)
def test_a_wrong_parameter_is_named(run, changes, words):
    with pytest.raises(InputError, match=words):
        run(**changes)


def test_waiting_is_bounded_and_judges_only_when_there_is_something_new(gate):
    gate.publish(raters="web")
    campaign = gate.open()
    clock, looks = [0.0], []

    class Found:
        class verdict:  # noqa: N801
            status = "undecided"

    def sleep(seconds):
        clock[0] += seconds
        if 100 < clock[0] < 130 and not rated:
            rated.append(1)
            RatingLog(campaign.store, campaign.prefix).append(
                Record.of(Rating(campaign.plan.pairs[0].task_id, "ann", 2, 1.0),
                          campaign=campaign.id, source="web", at=datetime.now(UTC))
            )  # fmt: skip

    rated = []

    def look(opened):
        looks.append(clock[0])
        return Found

    step.wait_for_raters(gate.open, look, minutes=3.0, sleep=sleep, clock=lambda: clock[0])
    assert clock[0] == pytest.approx(180.0)
    # At the start, and when a rating had come.
    assert looks[0] == 0.0
    assert any(100 < at < 180 for at in looks)
    assert len(looks) <= 4
