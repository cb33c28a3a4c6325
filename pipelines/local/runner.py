"""Runs the steps of a compiled pipeline in order, each in its own process.

A step in a branch runs when the branch's condition holds; an exit handler runs at the end, however
the others ended, and is told how. A step that was killed, or to which the registry did not answer,
is tried again as the pipeline allows; one that failed of its input or of a bug would fail again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.local import conditions
from pipelines.local.ir import RUN_ID, FromPipeline, FromStep, Pipeline, Scalar, Source, Step
from pipelines.local.step_cache import StepCache, StepResult, step_key
from pipelines.local.step_process import StepFailedError, execute


class Observer(Protocol):
    """Who is told what the run does."""

    def started(self, step: str) -> None:
        """A step begins."""

    def progressed(self, step: str, state: Mapping[str, Any]) -> None:
        """A running step reported how far it is (see `components.contracts.progress`)."""

    def finished(self, result: StepResult) -> None:
        """A step ended well, or was found finished."""

    def skipped(self, step: str, branch: str) -> None:
        """A step lies in a branch that is not taken."""

    def retrying(self, step: str, message: str, pause_s: float) -> None:
        """A step did not end well and is tried again after a pause, in seconds."""

    def failed(self, step: str, message: str) -> None:
        """A step did not end well."""


@dataclass(frozen=True)
class Run:
    """What a run needs besides the pipeline.

    Attributes:
        workspace: Where results, logs and the registry are kept.
        parameters: Value by pipeline parameter; all of them.
        outside: Fingerprint of what the pipeline reads from outside, by step.
        lock: File descriptor of the workspace's lock. A step inherits it, so that the workspace
            stays locked while a step lives that a killed runner left behind.
        still_good: Says whether a cached result can be used; one whose publication is gone cannot.
        run_id: What the steps are told that this run is called.
        sleep: What waits before a step is tried again; tests pass their own.
    """

    workspace: Path
    parameters: Mapping[str, Scalar]
    outside: Mapping[str, str]
    lock: int
    still_good: Callable[[StepResult], bool]
    run_id: str = "local"
    sleep: Callable[[float], None] = time.sleep


def run_pipeline(pipeline: Pipeline, run: Run, observer: Observer) -> dict[str, StepResult]:
    """Runs every step that has no finished result yet.

    Returns:
        The result of each step by name, in order; one in a branch that was not taken has none.

    Raises:
        StepFailedError: A step failed; what was finished before it is kept, and the exit handlers
            have run.
    """
    cache = StepCache(run.workspace / "steps")
    (run.workspace / "logs").mkdir(parents=True, exist_ok=True)
    results: dict[str, StepResult] = {}
    failure: StepFailedError | None = None
    for step in pipeline.steps:
        if failure is not None and not step.is_exit_handler:
            continue
        missing = _not_taken(step, run.parameters, results)
        if missing:
            observer.skipped(step.name, missing)
            continue
        try:
            results[step.name] = _finished_or_run(
                step, run, results, cache, observer, status=_final_status(pipeline, failure)
            )
        except StepFailedError as error:
            observer.failed(step.name, str(error))
            # What the run failed of is more than what the handler failed of after it.
            failure = failure or error
        else:
            observer.finished(results[step.name])
    if failure is not None:
        raise failure
    cache.prune()
    return results


def _finished_or_run(
    step: Step,
    run: Run,
    results: Mapping[str, StepResult],
    cache: StepCache,
    observer: Observer,
    *,
    status: Mapping[str, Any],
) -> StepResult:
    arguments: dict[str, Any] = {
        name: _value(source, run.parameters, results) for name, source in step.parameters.items()
    }
    arguments = {name: run.run_id if v == RUN_ID else v for name, v in arguments.items()}
    sources = [*step.artifacts.values(), *step.parameters.values()]
    upstream = {
        source.step: results[source.step].identity
        for source in sources
        if isinstance(source, FromStep)
    }
    key = step_key(step, arguments, upstream, run.outside.get(step.name, ""))
    # A step that reads from outside is not cached in a cluster, where nothing says whether the
    # outside changed; here its fingerprint is part of the key.
    reusable = step.cacheable or step.name in run.outside
    found = cache.find(step, key) if reusable else None
    if found is not None and run.still_good(found):
        cache.touch(found)
        return found
    if step.status_parameter:
        arguments[step.status_parameter] = dict(status)
    failures = 0
    while True:
        observer.started(step.name)
        try:
            return execute(
                step,
                key=key,
                arguments=arguments,
                results=results,
                cache=cache,
                log=run.workspace / "logs" / f"{step.name}.log",
                lock=run.lock,
                on_progress=lambda state: observer.progressed(step.name, state),
            )
        except StepFailedError as error:
            failures += 1
            if not error.may_pass or failures > step.retry.times:
                raise
            pause = step.retry.pause(failures)
            observer.retrying(step.name, str(error), pause)
            run.sleep(pause)


def _value(
    source: Source, parameters: Mapping[str, Scalar], results: Mapping[str, StepResult]
) -> Scalar:
    if isinstance(source, FromPipeline):
        return parameters[source.name]
    if isinstance(source, FromStep):
        return results[source.step].outputs[source.output]
    return source


def _not_taken(
    step: Step, parameters: Mapping[str, Scalar], results: Mapping[str, StepResult]
) -> str:
    """Returns the branch that keeps a step from running; empty when none does."""
    for branch in step.branches:

        def value_of(name: str, values: Mapping[str, Source] = branch.values) -> Scalar:
            return _value(values[name], parameters, results)

        if not conditions.holds(branch.condition, value_of):
            return branch.name
    for source in (*step.artifacts.values(), *step.parameters.values()):
        if isinstance(source, FromStep) and source.step not in results:
            return source.step
    return ""


def _final_status(pipeline: Pipeline, failure: StepFailedError | None) -> dict[str, Any]:
    """Returns what an exit handler is told, as KFP's backend writes it."""
    status: dict[str, Any] = {
        "state": "SUCCEEDED" if failure is None else "FAILED",
        "pipelineJobResourceName": f"local/{pipeline.name}",
        "pipelineTaskName": "exit-handler-1",
    }
    if failure is not None:
        # 13 is google.rpc.Code INTERNAL, 3 INVALID_ARGUMENT.
        code = 3 if failure.exit_code == 2 else 13
        status["error"] = {"code": code, "message": failure.reason}
    return status
