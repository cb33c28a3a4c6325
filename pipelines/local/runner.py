"""Runs the steps of a compiled pipeline in order, each in its own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from components.contracts import progress
from components.contracts.errors import LookalikeError
from components.contracts.files import read_json
from pipelines.local.ir import FromPipeline, FromStep, Pipeline, Scalar, Step
from pipelines.local.step_cache import StepCache, StepResult, artifact_paths, step_key

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 20.0
_LOG_TAIL_LINES = 25


class StepFailedError(LookalikeError):
    """A step did not end well.

    Attributes:
        step: Its name.
        log: The file with all that it printed.
        exit_code: 2 when the step found a mistake in its input, else 1.
    """

    def __init__(self, step: str, log: Path, message: str, exit_code: int) -> None:
        """Keeps the step and its log beside the message."""
        super().__init__(f"{step}: {message}\n  full log: {log}")
        self.step = step
        self.log = log
        self.exit_code = exit_code


class Observer(Protocol):
    """Who is told what the run does."""

    def started(self, step: str) -> None:
        """A step begins."""

    def progressed(self, step: str, state: Mapping[str, Any]) -> None:
        """A running step reported how far it is (see `components.contracts.progress`)."""

    def finished(self, result: StepResult) -> None:
        """A step ended well, or was found finished."""

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
    """

    workspace: Path
    parameters: Mapping[str, Scalar]
    outside: Mapping[str, str]
    lock: int
    still_good: Callable[[StepResult], bool]


def run_pipeline(pipeline: Pipeline, run: Run, observer: Observer) -> dict[str, StepResult]:
    """Runs every step that has no finished result yet.

    Returns:
        The result of each step by name, in order.

    Raises:
        StepFailedError: A step failed; what was finished before it is kept.
    """
    cache = StepCache(run.workspace / "steps")
    logs = run.workspace / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    results: dict[str, StepResult] = {}
    for step in pipeline.steps:
        arguments = _arguments(step, run.parameters, results)
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
            results[step.name] = found
        else:
            observer.started(step.name)
            log = logs / f"{step.name}.log"
            try:
                results[step.name] = _execute(
                    step,
                    key=key,
                    arguments=arguments,
                    results=results,
                    cache=cache,
                    log=log,
                    lock=run.lock,
                    observer=observer,
                )
            except StepFailedError as error:
                observer.failed(step.name, str(error))
                raise
        observer.finished(results[step.name])
    cache.prune()
    return results


def _arguments(
    step: Step, parameters: Mapping[str, Scalar], results: Mapping[str, StepResult]
) -> dict[str, Scalar]:
    values: dict[str, Scalar] = {}
    for name, source in step.parameters.items():
        if isinstance(source, FromPipeline):
            values[name] = parameters[source.name]
        elif isinstance(source, FromStep):
            values[name] = results[source.step].outputs[source.output]
        else:
            values[name] = source
    return values


def _executor_input(
    step: Step,
    arguments: Mapping[str, Scalar],
    results: Mapping[str, StepResult],
    directory: Path,
) -> dict[str, Any]:
    """Returns what kfp's executor expects (its ExecutorInput message as JSON)."""

    def artifact(name: str, schema: str, path: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "artifacts": [
                {
                    "name": name,
                    "type": {"schemaTitle": schema, "schemaVersion": "0.0.1"},
                    "uri": str(path),
                    "metadata": dict(metadata),
                }
            ]
        }

    inputs = {}
    for name, source in step.artifacts.items():
        result = results[source.step]
        inputs[name] = artifact(
            name,
            "system.Artifact",
            result.artifacts[source.output],
            result.metadata.get(source.output, {}),
        )
    paths = artifact_paths(step, directory)
    return {
        "inputs": {"parameterValues": dict(arguments), "artifacts": inputs},
        "outputs": {
            "parameters": {
                name: {"outputFile": str(directory / "parameters" / name)}
                for name in step.output_parameters
            },
            "artifacts": {
                name: artifact(name, schema, paths[name], {})
                for name, schema in step.output_artifacts.items()
            },
            "outputFile": str(directory / "executor_output.json"),
        },
    }


def _execute(
    step: Step,
    *,
    key: str,
    arguments: Mapping[str, Scalar],
    results: Mapping[str, StepResult],
    cache: StepCache,
    log: Path,
    lock: int,
    observer: Observer,
) -> StepResult:
    start = time.monotonic()
    directory = cache.begin(step, key)
    source = directory / "component_body.py"
    source.write_text(step.source, encoding="utf-8")
    error_file = directory / "error.json"
    error_file.unlink(missing_ok=True)
    progress_file = directory / "progress.json"
    progress_file.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "pipelines.local.execute_step",
        str(error_file),
        "--component_module_path",
        str(source),
        "--executor_input",
        json.dumps(_executor_input(step, arguments, results, directory)),
        "--function_to_execute",
        step.function,
    ]
    environment = {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **os.environ,
        progress.ENVIRONMENT_VARIABLE: str(progress_file),
        "PYTHONUNBUFFERED": "1",
        # The lineage of a bundle names the run that built it.
        "LOOKALIKE_RUN": f"local-{key[:12]}",
    }
    with log.open("wb") as output:
        # A session of its own: ending the step ends its workers too.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=[lock],
        )
        try:
            _watch(step.name, process, progress_file, observer)
        except BaseException:
            _stop(process)
            raise
    if process.returncode != 0:
        raise _failure(step.name, process.returncode, error_file, log)
    seconds = time.monotonic() - start
    outputs, metadata = _outputs(step, directory / "executor_output.json", log)
    return cache.finish(
        directory,
        StepResult(
            step=step.name,
            key=key,
            identity=uuid.uuid4().hex,
            outputs=outputs,
            artifacts=artifact_paths(step, directory),
            metadata=metadata,
            seconds=seconds,
            cached=False,
        ),
    )


def _watch(
    step: str, process: subprocess.Popen[bytes], progress_file: Path, observer: Observer
) -> None:
    last = b""
    while process.poll() is None:
        try:
            state = progress_file.read_bytes()
        except FileNotFoundError:
            state = b""
        if state and state != last:
            last = state
            observer.progressed(step, json.loads(state))
        time.sleep(_POLL_SECONDS)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a step and whatever it started: politely first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=_GRACE_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        else:
            return


def _failure(step: str, code: int, error_file: Path, log: Path) -> StepFailedError:
    try:
        record = json.loads(error_file.read_bytes())
        return StepFailedError(step, log, record["message"], int(record["exit_code"]))
    except (OSError, ValueError, KeyError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "".join(f"\n  | {line}" for line in lines[-_LOG_TAIL_LINES:])
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return StepFailedError(step, log, f"the step's process {how}; it printed last:{tail}", 1)


def _outputs(step: Step, path: Path, log: Path) -> tuple[dict[str, Scalar], dict[str, Any]]:
    record = read_json(path) if path.exists() else {}
    values = record.get("parameterValues", {})
    missing = [name for name in step.output_parameters if name not in values]
    if missing:
        raise StepFailedError(
            step.name, log, f"expected the output {missing[0]!r}, the step gave none", 1
        )
    metadata = {
        name: entry["artifacts"][0].get("metadata", {})
        for name, entry in record.get("artifacts", {}).items()
    }
    return values, metadata
