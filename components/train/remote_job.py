"""A training group that runs elsewhere: started once, waited for, and cancelled with this step."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from components.train.group_errors import CancelledError, WorkerError
from components.train.termination import told_on_sigterm
from components.train.worker import TRY_AGAIN

Phase = Literal["waiting", "running", "succeeded", "failed"]
_TROUBLE_SECONDS = 300.0
# What another machine wrote may be seen here only after a network mount's cache has expired.
_RESULT_SECONDS = 60.0
_LINES_KEPT = 30
_LAST_LOOKS = 10


class ServiceError(Exception):
    """The service did not answer as it should; asking again may help."""


class _UnansweredError(WorkerError):
    """The service was asked for long enough, and nobody knows whether the job runs."""


@dataclass(frozen=True)
class JobState:
    """What the service says of a job.

    Attributes:
        phase: How far it is.
        reason: What the service says about it, in words; may be empty.
        final: Whether another job would end in the same way: a worker failed for a reason of its
            own, or somebody stopped the job.
    """

    phase: Phase
    reason: str = ""
    final: bool = False


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

    def new_lines(self, name: str) -> Iterable[LogLine]:
        """Yields what the workers wrote since the last call; what was yielded is not lost."""

    def cancel(self, name: str) -> None:
        """Stops the job; does nothing when there is none or it has ended."""


def is_final(codes: Iterable[int]) -> bool:
    """Returns whether a group whose workers ended with these exit codes would fail again.

    As in a group on one machine: a worker that ended with an error of its own settles it. A worker
    that lost a peer says so by its code, and one that was killed (128 and above: evicted, out of
    memory) may have taken the others with it, whatever they say.
    """
    blamed = [code for code in codes if code not in (0, TRY_AGAIN)]
    return bool(blamed) and all(code < 128 for code in blamed)


def run_job(
    service: JobService,
    name: str,
    *,
    result: Sequence[Path],
    attempts: int,
    poll_seconds: float,
    deadline_seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Starts a job, or finds the one that an earlier try started, and waits until it has ended.

    What the workers write goes to standard error with the worker's name in front. A job that had
    ended before this call, and whose result is not there, is left as it is, for whoever wants to
    look, and the next number is taken; so is one that fails now, unless it would fail again. No
    job runs on unwatched: what ends this call cancels the job, but for a service that is silent.

    Args:
        service: Where it runs.
        name: The job's name; what it trains is in it.
        result: The files that the job leaves; all of them there say that it is done.
        attempts: How many jobs that this call started, or found running, may fail.
        poll_seconds: Seconds between two looks.
        deadline_seconds: Longest wait, in seconds.
        clock: A monotonic clock, in seconds.

    Raises:
        InputError: The service refuses what it is asked.
        WorkerError: The job failed, or took too long, or left no result, or the service does not
            answer; the message holds the workers' last lines.
        CancelledError: SIGTERM came; the job was cancelled.
    """
    failed = 0
    with told_on_sigterm() as told:
        wait = _Wait(service, result, told, poll_seconds, deadline_seconds, clock)
        for number in itertools.count(1):
            if told.is_set():
                raise CancelledError("train: told to stop (SIGTERM) before a job was started")
            job = name if number == 1 else f"{name}-{number}"
            found = wait.start(job)
            if found.phase in ("succeeded", "failed"):
                if wait.is_done():
                    return
                _say(f"job {job} has {found.phase} before and left no result; taking the next one")
                continue
            try:
                state = wait.until_ended(job)
            except _UnansweredError:
                raise
            except BaseException:
                wait.cancel(job)
                raise
            # A worker that fails after the first one was done takes nothing away.
            if wait.is_done(patiently=state.phase == "succeeded"):
                return
            if state.phase == "succeeded":
                raise WorkerError(
                    f"train: job {job} succeeded, and left no {result[-1]}; expected the workers' "
                    "staging directory and this step's to be the same one, which nobody cleans "
                    f"meanwhile. The workers' last lines:{wait.last_lines()}"
                )
            failed += 1
            reason = state.reason or "no reason given"
            if state.final or failed == attempts:
                raise WorkerError(
                    f"train: job {job} failed ({reason}). The workers' last lines:"
                    f"{wait.last_lines()}"
                )
            _say(f"job {job} failed ({reason}); starting another ({failed} of {attempts - 1})")


class _Wait:
    """What one call of `run_job` knows of its jobs."""

    def __init__(
        self,
        service: JobService,
        result: Sequence[Path],
        told: threading.Event,
        poll_seconds: float,
        deadline_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._service = service
        self._result = result
        self._told = told
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._end = clock() + deadline_seconds
        self._hours = deadline_seconds / 3600
        self._lines: list[str] = []
        self._missing: set[str] = set()

    def start(self, job: str) -> JobState:
        """Returns the state of the job, which is started if there is none."""

        def find_or_create() -> JobState:
            found = self._service.state(job)
            if found is None:
                self._service.create(job)
                _say(f"started job {job}")
                return JobState("waiting")
            if found.phase in ("waiting", "running"):
                _say(f"job {job} is there already ({found.phase}); going on with it")
            return found

        return self._patiently(find_or_create, job)

    def until_ended(self, job: str) -> JobState:
        """Returns the last state of a job that runs; passes its lines on until then."""

        def look() -> JobState:
            found = self._service.state(job)
            return found or JobState("failed", "somebody deleted the job", final=True)

        while True:
            if self._told.wait(self._poll_seconds):
                raise CancelledError(
                    f"train: told to stop (SIGTERM); job {job} was cancelled. Run the step "
                    "again: it goes on from the last checkpoint"
                )
            if self._clock() > self._end:
                raise WorkerError(
                    f"train: job {job} did not end within {self._hours:.1f} hours and was "
                    "cancelled; raise train.backend.deadline_hours"
                )
            state = self._patiently(look, job)
            told = self._relay(job)
            if state.phase in ("succeeded", "failed"):
                break
        for _ in range(_LAST_LOOKS):
            if not told:
                break
            told = self._relay(job)
        return state

    def is_done(self, *, patiently: bool = False) -> bool:
        """Returns whether all of the result is there."""
        give_up = self._clock() + _RESULT_SECONDS
        while not (done := all(file.is_file() for file in self._result)):
            if not patiently or self._clock() > give_up or self._told.wait(self._poll_seconds):
                break
        return done

    def cancel(self, job: str) -> None:
        """Cancels the job, as far as the service lets us; another error is on its way."""
        try:
            self._service.cancel(job)
        except Exception as error:
            _say(f"job {job} could not be cancelled ({error}); look after it")

    def last_lines(self) -> str:
        """Returns the workers' last lines, one below the other."""
        return "".join(f"\n  {line}" for line in self._lines) or "\n  (they said nothing)"

    def _patiently(self, ask: Callable[[], JobState], job: str) -> JobState:
        """Asks a service that may be out of order for a while; a lost look costs no job."""
        give_up = self._clock() + _TROUBLE_SECONDS
        while True:
            try:
                return ask()
            except ServiceError as error:
                if self._clock() > give_up or self._told.is_set():
                    raise _UnansweredError(
                        f"train: the service does not answer for job {job}: {error}; the job may "
                        "still run, and running the step again finds it"
                    ) from None
                _say(f"{error}; asking again")
                self._told.wait(self._poll_seconds)

    def _relay(self, job: str) -> bool:
        """Passes new lines on; returns whether there were any."""
        any_new = False
        try:
            for line in self._service.new_lines(job):
                any_new = True
                self._lines.append(f"[worker {line.worker}] {line.text}")
                del self._lines[:-_LINES_KEPT]
                print(self._lines[-1], file=sys.stderr, flush=True)
        except Exception as error:
            # The job goes on without its lines; they are asked for again at the next look.
            words = str(error) or type(error).__name__
            if words not in self._missing:
                self._missing.add(words)
                _say(f"lines of job {job} are missing here ({words}); the job goes on")
        return any_new


def _say(words: str) -> None:
    print(f"train: {words}", file=sys.stderr, flush=True)
