from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from pipelines.local import step_cache
from pipelines.local.ir import read_pipeline
from pipelines.local.runner import Run, StepFailedError, run_pipeline
from pipelines.local.step_cache import code_digest


class Notes:
    """An observer that remembers."""

    def __init__(self):
        self.events = []

    def started(self, step):
        self.events.append(("started", step))

    def progressed(self, step, state):
        self.events.append(("progressed", step))

    def finished(self, result):
        self.events.append(("cached" if result.cached else "finished", result.step))

    def skipped(self, step, branch):
        self.events.append(("skipped", step))

    def retrying(self, step, message, pause_s):
        self.events.append((f"again in {pause_s:g} s", step))

    def failed(self, step, message):
        self.events.append(("failed", step))


def run(
    path: Path,
    workspace: Path,
    *,
    number=3,
    share=0.5,
    outside="",
    still_good=lambda _: True,
    notes=None,
):
    notes = notes or Notes()
    parameters = {"first_number": number, "second_share": share, "needed": "x"}
    with tempfile.TemporaryFile() as lock:
        results = run_pipeline(
            read_pipeline(path),
            Run(
                workspace=workspace,
                parameters=parameters,
                outside={"first": outside},
                lock=lock.fileno(),
                still_good=still_good,
                sleep=lambda _: None,
            ),
            notes,
        )
    return results, notes.events


def test_values_and_artifacts_travel_between_processes(toy, tmp_path):
    results, events = run(toy, tmp_path / "w")

    assert results["second"].outputs == {"Output": "3 6 0.5"}
    assert results["second"].metadata["metrics"] == {"share": 0.5}
    assert results["first"].artifacts["report"].read_text() == "<p>hello</p>"
    assert results["first"].artifacts["report"].suffix == ".html"
    assert events == [
        ("started", "first"),
        ("finished", "first"),
        ("started", "second"),
        ("finished", "second"),
    ]


def test_finished_steps_are_not_repeated_unless_the_pipeline_forbids_it(toy, tmp_path):
    run(toy, tmp_path / "w")
    results, events = run(toy, tmp_path / "w")

    assert events == [("cached", "first"), ("started", "second"), ("finished", "second")]
    assert results["second"].outputs == {"Output": "3 6 0.5"}


@pytest.mark.parametrize("change", [{"number": 4}, {"outside": "another catalog"}])
def test_a_step_runs_again_when_what_it_depends_on_changed(toy, tmp_path, change):
    run(toy, tmp_path / "w")
    _, events = run(toy, tmp_path / "w", **change)

    assert ("started", "first") in events


def test_a_change_further_down_leaves_earlier_steps_alone(toy, tmp_path):
    run(toy, tmp_path / "w")
    results, events = run(toy, tmp_path / "w", share=0.25)

    assert ("cached", "first") in events
    assert results["second"].outputs == {"Output": "3 6 0.25"}


@pytest.mark.parametrize(
    ("changed", "again"),
    [("first", ["first", "second"]), ("second", ["second"]), ("neither", [])],
)
def test_after_a_code_change_in_a_step_it_and_those_after_it_run_again(
    toy, tmp_path, monkeypatch, changed, again
):
    # Both steps may be kept here, so that what runs runs for the code's sake alone.
    toy.write_text(
        toy.read_text().replace("cachingOptions: {}", "cachingOptions: {enableCache: true}")
    )
    run(toy, tmp_path / "w")
    monkeypatch.setattr(
        step_cache,
        "code_digest",
        lambda folder: "new" if folder == changed else code_digest(folder),
    )

    _, events = run(toy, tmp_path / "w")

    assert [name for kind, name in events if kind == "started"] == again
    assert len(events) == len(again) * 2 + (2 - len(again))


def test_a_result_whose_publication_is_gone_is_not_used(toy, tmp_path):
    run(toy, tmp_path / "w")
    _, events = run(toy, tmp_path / "w", still_good=lambda result: False)

    assert ("started", "first") in events


def test_a_mistake_of_the_user_comes_without_a_traceback(troubled, tmp_path):
    with pytest.raises(StepFailedError) as caught:
        run(troubled("mistake"), tmp_path / "w")

    assert caught.value.exit_code == 2
    assert "row 3: expected a number, received 'x'" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert "Traceback" not in (tmp_path / "w" / "logs" / "first.log").read_text()


def test_a_bug_shows_the_end_of_the_log(troubled, tmp_path):
    with pytest.raises(StepFailedError, match="nobody thought of this") as caught:
        run(troubled("bug"), tmp_path / "w")

    assert caught.value.exit_code == 1


def test_a_killed_step_leaves_nothing_that_is_taken_for_whole(toy, troubled, tmp_path):
    with pytest.raises(StepFailedError, match="ended by signal 9"):
        run(troubled("kill"), tmp_path / "w")
    finished = list((tmp_path / "w" / "steps" / "first").iterdir())
    assert [path.suffix for path in finished] == [".partial"]

    results, _ = run(toy, tmp_path / "w")

    assert results["second"].outputs == {"Output": "3 6 0.5"}


def test_a_step_to_which_the_registry_did_not_answer_is_tried_again(
    troubled, tmp_path, monkeypatch
):
    monkeypatch.setenv("TOY_TRIES", str(tmp_path / "tries"))
    results, events = run(troubled("outage"), tmp_path / "w")

    assert results["second"].outputs == {"Output": "3 6 0.5"}
    # 60 s, then twice as long, but never longer than 90 s.
    assert events[:6] == [
        ("started", "first"), ("again in 60 s", "first"),
        ("started", "first"), ("again in 90 s", "first"),
        ("started", "first"), ("finished", "first"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("trouble", "times"), [("always out", 3), ("kill", 3), ("mistake", 1), ("told", 1), ("bug", 1)]
)
def test_what_would_fail_again_is_not_tried_again(troubled, tmp_path, monkeypatch, trouble, times):
    monkeypatch.setenv("TOY_TRIES", str(tmp_path / "tries"))
    notes = Notes()
    with pytest.raises(StepFailedError):
        run(troubled(trouble), tmp_path / "w", notes=notes)

    assert notes.events.count(("started", "first")) == times
    assert notes.events[-1] == ("failed", "first")


def test_a_damaged_result_is_computed_again(toy, tmp_path):
    results, _ = run(toy, tmp_path / "w")
    results["first"].artifacts["report"].unlink()

    _, events = run(toy, tmp_path / "w")

    assert ("started", "first") in events


def run_branches(path: Path, workspace: Path, answer: str):
    notes = Notes()
    with tempfile.TemporaryFile() as lock:
        run = Run(
            workspace=workspace,
            parameters={"answer": answer, "mark": "!"},
            outside={},
            lock=lock.fileno(),
            still_good=lambda _: True,
            run_id="run-7",
        )
        try:
            results = run_pipeline(read_pipeline(path), run, notes)
        except StepFailedError as error:
            return error, notes.events
    return results, notes.events


@pytest.mark.parametrize(
    ("answer", "step", "output"),
    [
        ("pass", "passed", "pass !"),
        ("fail", "held", "held: fail"),
        ("else", "held_2", "held: else"),
    ],
)
def test_the_branch_whose_condition_holds_runs_alone(branching, tmp_path, answer, step, output):
    results, events = run_branches(branching, tmp_path, answer)

    assert list(results) == ["gate", step, "tell"]
    assert results[step].outputs == {"Output": output}
    assert {name for kind, name in events if kind == "skipped"} == {
        "passed", "held", "held_2",
    } - {step}  # fmt: skip
    note = results["tell"].artifacts["note"].read_text()
    assert note == "run-7 SUCCEEDED None None"


def test_the_exit_handler_runs_after_a_failure_and_hears_why(branching, tmp_path):
    error, events = run_branches(branching, tmp_path, "break")

    assert isinstance(error, StepFailedError)
    assert error.step == "gate"
    assert events == [
        ("started", "gate"),
        ("failed", "gate"),
        ("started", "tell"),
        ("finished", "tell"),
    ]
    note = next((tmp_path / "steps" / "tell").glob("*/outputs/note.md")).read_text()
    assert note == "run-7 FAILED 3 gate: answer: expected no break"


def test_a_step_that_takes_longer_than_it_may_is_ended(branching, tmp_path):
    error, events = run_branches(branching, tmp_path, "sleep")

    assert "took longer than the 2 s it may take" in str(error)
    assert ("finished", "tell") in events
