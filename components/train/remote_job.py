"""A training group that runs elsewhere: started once, waited for, and cancelled with this step."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from components.train.group_errors import CancelledError, WorkerError
from components.train.termination import told_on_sigterm

Phase = Literal["waiting", "running", "succeeded", "failed"]
_TROUBLE_SECONDS = 300.0
_LINES_KEPT = 30


class ServiceError(Exception):
    """The service did not answer as it should; asking again may help."""


@dataclass(frozen=True)
class JobState:
    """What the service says of a job.

    Attributes:
        phase: How far it is.
        reason: What the service says about it, in words; may be empty.
    """

    phase: Phase
    reason: str = ""


@dataclass(frozen=True)
class LogLine:
    """A line that a worker wrote.

    Attributes:
        worker: Number or name of the worker.
        text: The line.
    """

    worker: str
    text: str


class JobService(Protocol):
    """The few calls that a service of training jobs is asked."""

    def state(self, name: str) -> JobState | None:
        """Returns the state of the job of that name, None when there is none."""

    def create(self, name: str) -> None:
        """Starts the job; does nothing when another call has started it meanwhile."""

    def new_lines(self, name: str) -> Sequence[LogLine]:
        """Returns what the workers wrote since the last call."""

    def cancel(self, name: str) -> None:
        """Stops the job; does nothing when there is none or it has ended."""


def run_job(
    service: JobService,
    name: str,
    *,
    attempts: int,
    poll_seconds: float,
    deadline_seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Starts a job, or finds the one that an earlier try started, and waits until it has ended.

    What the workers write goes to standard error with the worker's name in front. A job of the
    same name that failed is left as it is, for whoever wants to look, and the next number is
    taken.

    Args:
        service: Where it runs.
        name: The job's name; the run's id is in it.
        attempts: How many jobs may fail before this gives up.
        poll_seconds: Seconds between two looks.
        deadline_seconds: Longest wait, in seconds.
        clock: A monotonic clock, in seconds.

    Raises:
        WorkerError: The job failed, or took too long, or the service does not answer; the message
            holds the workers' last lines.
        CancelledError: SIGTERM came; the job was cancelled.
    """
    end = clock() + deadline_seconds
    lines: list[str] = []
    with told_on_sigterm() as told:
        for attempt in range(attempts):
            job = name if attempt == 0 else f"{name}-{attempt + 1}"
            state = _start(service, job, told, poll_seconds, clock)
            while state.phase not in ("succeeded", "failed"):
                if told.wait(poll_seconds):
                    _cancel(service, job)
                    raise CancelledError(
                        f"train: told to stop (SIGTERM); job {job} was cancelled. Run the step "
                        "again: it goes on from the last checkpoint"
                    )
                if clock() > end:
                    _cancel(service, job)
                    raise WorkerError(
                        f"train: job {job} did not end within {deadline_seconds / 3600:.1f} hours "
                        "and was cancelled; raise train.backend.deadline_hours"
                    )
                state = _look(service, job, lines, told, poll_seconds, clock)
            _relay(service, job, lines)
            if state.phase == "succeeded":
                return
            _say(f"job {job} failed: {state.reason or 'no reason given'}")
    last = "".join(f"\n  {line}" for line in lines[-_LINES_KEPT:]) or "\n  (they said nothing)"
    raise WorkerError(
        f"train: job {job} failed ({state.reason or 'no reason given'}). The workers' last "
        f"lines:{last}"
    )


def _start(
    service: JobService,
    job: str,
    told: threading.Event,
    poll_seconds: float,
    clock: Callable[[], float],
) -> JobState:
    def find_or_create() -> JobState:
        found = service.state(job)
        if found is None:
            service.create(job)
            _say(f"started job {job}")
            return JobState("waiting")
        _say(f"job {job} is there already ({found.phase}); going on with it")
        return found

    return _patiently(find_or_create, job, told, poll_seconds, clock)


def _look(
    service: JobService,
    job: str,
    lines: list[str],
    told: threading.Event,
    poll_seconds: float,
    clock: Callable[[], float],
) -> JobState:
    def ask() -> JobState:
        state = service.state(job)
        if state is None:
            return JobState("failed", "somebody deleted the job")
        return state

    state = _patiently(ask, job, told, poll_seconds, clock)
    _relay(service, job, lines)
    return state


def _patiently(
    ask: Callable[[], JobState],
    job: str,
    told: threading.Event,
    poll_seconds: float,
    clock: Callable[[], float],
) -> JobState:
    """Asks a service that may be out of order for a while; a lost look must not cost the job."""
    give_up = clock() + _TROUBLE_SECONDS
    while True:
        try:
            return ask()
        except ServiceError as error:
            if clock() > give_up or told.is_set():
                raise WorkerError(
                    f"train: the service does not answer for job {job}: {error}; the job may still "
                    "run, and running the step again finds it"
                ) from None
            _say(f"{error}; asking again")
            told.wait(poll_seconds)


def _relay(service: JobService, job: str, lines: list[str]) -> None:
    try:
        new = service.new_lines(job)
    except ServiceError:
        # The lines come with the next look.
        return
    for line in new:
        lines.append(f"[worker {line.worker}] {line.text}")
        print(lines[-1], file=sys.stderr, flush=True)
    del lines[:-_LINES_KEPT]


def _cancel(service: JobService, job: str) -> None:
    try:
        service.cancel(job)
    except ServiceError as error:
        _say(f"job {job} could not be cancelled ({error}); look after it")


def _say(words: str) -> None:
    print(f"train: {words}", file=sys.stderr, flush=True)
