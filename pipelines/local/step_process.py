"""One step in a process of its own: kfp's executor over the compiled body, watched to its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from components.contracts import progress
from components.contracts.errors import LookalikeError
from components.contracts.files import read_json
from pipelines.local.ir import Scalar, Step
from pipelines.local.step_cache import StepCache, StepResult, artifact_paths

_FIRST_POLL_SECONDS = 0.01
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 20.0
_LOG_TAIL_LINES = 25


class StepFailedError(LookalikeError):
    """A step did not end well.

    Attributes:
        step: Its name.
        reason: What went wrong, without where the log is.
        log: The file with all that it printed.
        exit_code: 2 when the step found a mistake in its input, else 1.
        may_pass: Whether it may go better the next time: the step was killed, or the registry was
            too busy or did not answer. A mistake, a bug and a time-out come again.
    """

    def __init__(
        self, step: str, log: Path, message: str, exit_code: int, *, may_pass: bool = False
    ) -> None:
        """Keeps the step and its log beside the message."""
        super().__init__(f"{step}: {message}\n  full log: {log}")
        self.reason = f"{step}: {message}"
        self.step = step
        self.log = log
        self.exit_code = exit_code
        self.may_pass = may_pass


def _executor_input(
    step: Step,
    arguments: Mapping[str, Any],
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


def execute(
    step: Step,
    *,
    key: str,
    arguments: Mapping[str, Any],
    results: Mapping[str, StepResult],
    cache: StepCache,
    log: Path,
    lock: int,
    on_progress: Callable[[Mapping[str, Any]], None],
) -> StepResult:
    """Runs a step and keeps what it left.

    Args:
        step: The step.
        key: What its result is kept under.
        arguments: Value by parameter.
        results: The results before it.
        cache: Where the result is kept.
        log: Gets all that the step prints.
        lock: A file descriptor that the step inherits.
        on_progress: Told how far the step is.

    Raises:
        StepFailedError: The step did not end well, or took too long.
    """
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
            _watch(step, process, progress_file, on_progress, log)
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
    step: Step,
    process: subprocess.Popen[bytes],
    progress_file: Path,
    on_progress: Callable[[Mapping[str, Any]], None],
    log: Path,
) -> None:
    """Waits for a step and tells how far it is.

    Raises:
        StepFailedError: It took longer than the pipeline allows; the caller ends it.
    """
    last = b""
    end = time.monotonic() + (step.timeout_s or float("inf"))
    pause = _FIRST_POLL_SECONDS
    while True:
        try:
            # Wakes up when the process ends: a step of a tenth of a second is not held up.
            process.wait(timeout=pause)
        except subprocess.TimeoutExpired:
            pause = min(pause * 2, _POLL_SECONDS)
        else:
            return
        if time.monotonic() > end:
            raise StepFailedError(
                step.name, log, f"took longer than the {step.timeout_s:g} s it may take", 1
            )
        try:
            state = progress_file.read_bytes()
        except FileNotFoundError:
            continue
        if state and state != last:
            last = state
            on_progress(json.loads(state))


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
        return StepFailedError(
            step, log, record["message"], int(record["exit_code"]), may_pass=record["may_pass"]
        )
    except (OSError, ValueError, KeyError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "".join(f"\n  | {line}" for line in lines[-_LOG_TAIL_LINES:])
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return StepFailedError(
            step, log, f"the step's process {how}; it printed last:{tail}", 1, may_pass=code < 0
        )


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
