from __future__ import annotations

import pytest

from components.outcome.notification import read_ending
from components.registry import run_log
from components.registry.registry import Registry

RUN = "run-7"


@pytest.fixture
def registry(tmp_path, make_bundle):
    registry = Registry.open(str(tmp_path / "registry"))
    registry.publish_bundle(make_bundle(tmp_path / "built", "v1"))
    registry.move("shop", to="v1", who="tests", why="first")
    return registry


def ending(registry, state="SUCCEEDED", error="", run=RUN):
    return read_ending(
        registry, run=run, pipeline="visual-search", channel="shop", state=state, error=error
    )


def gates(registry, outcome, reasons=()):
    record = {"outcome": outcome, "version": "v2", "reasons": list(reasons)}
    run_log.record(registry.store, RUN, "gates", record)


def promotion(registry, outcome, reasons=()):
    record = {"outcome": outcome, "version": "v2", "reasons": list(reasons), "previous": "v1"}
    run_log.record(registry.store, RUN, "promotion", record)


@pytest.mark.parametrize("outcome", ["promoted", "unchanged", "refused"])
def test_what_promote_said_is_the_outcome(registry, outcome):
    gates(registry, "passed")
    promotion(registry, outcome, ["because"])

    found = ending(registry)

    assert (found.outcome, found.version, found.live) == (outcome, "v2", "v1")
    assert found.reasons == ("because",)


@pytest.mark.parametrize("outcome", ["refused", "undecided"])
def test_without_a_promotion_the_gates_word_is(registry, outcome):
    gates(registry, outcome, ["too few ratings"])

    assert ending(registry).outcome == outcome
    assert ending(registry).reasons == ("too few ratings",)


def test_gates_that_passed_without_a_promotion_are_not_taken_for_one(registry):
    gates(registry, "passed")

    assert ending(registry).outcome == "refused"


def test_a_run_that_left_no_record_has_failed(registry):
    assert ending(registry).outcome == "failed"


def test_a_failed_step_is_the_outcome_and_what_was_reached_is_told(registry):
    gates(registry, "passed")
    promotion(registry, "promoted")

    found = ending(registry, state="FAILED", error="notify: no more memory")

    assert found.outcome == "failed"
    assert found.reasons == ("notify: no more memory", "before that: promoted")


def test_a_backend_that_gives_no_message_still_gives_a_reason(registry):
    found = ending(registry, state="FAILED")

    assert found.reasons == ("a step failed; the pipeline's page shows which",)
    assert ending(registry, state="CANCELLED").outcome == "cancelled"


def test_a_record_that_cannot_be_read_is_a_reason_and_stops_nothing(registry):
    registry.store.write(f"runs/{RUN}/gates.json", b"{")

    found = ending(registry, state="FAILED", error="x")

    assert any("cannot be read" in reason for reason in found.reasons)


def test_a_placeholder_that_the_backend_left_is_a_reason_too(registry):
    found = ending(registry, run="{{$.pipeline_job_uuid}}")

    assert found.outcome == "failed"
    assert any("expected letters, digits" in reason for reason in found.reasons)


def test_long_reasons_are_cut_and_many_are_counted_off(registry):
    gates(registry, "refused", ["x " * 1000, *(f"reason {n}" for n in range(40))])

    found = ending(registry)

    assert len(found.reasons) == 20
    assert len(found.reasons[0]) == 600


def test_the_event_and_the_note_say_the_same(registry):
    gates(registry, "refused", ["recall fell"])
    found = ending(registry)
    event, note = found.to_event(), found.to_markdown(told="told")

    assert event["event"] == "lookalike.run.finished"
    assert event["schema"] == 1
    assert event["outcome"] == "refused"
    assert event["reasons"] == ["recall fell"]
    assert "# Refused: `v2`" in note
    assert "- recall fell" in note
    assert "| live now | `v1` |" in note
