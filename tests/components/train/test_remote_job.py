"""Waiting for a job elsewhere: started once, followed, cancelled."""

import os
import signal
import threading

import pytest

from components.train.group_errors import CancelledError, WorkerError
from components.train.remote_job import JobState, LogLine, ServiceError, run_job


class Service:
    """Answers from a script: for each job the states that it goes through."""

    def __init__(self, scripts, *, lines=(), troubles=0):
        self.scripts = {name: list(states) for name, states in scripts.items()}
        self.there = {}
        self.created, self.cancelled = [], []
        self.lines = list(lines)
        self.troubles = troubles

    def state(self, name):
        if self.troubles:
            self.troubles -= 1
            raise ServiceError("the service answered 503")
        if name not in self.there:
            return None
        states = self.there[name]
        return states.pop(0) if len(states) > 1 else states[0]

    def create(self, name):
        self.created.append(name)
        self.there[name] = self.scripts[name]

    def new_lines(self, name):
        lines, self.lines = self.lines[:1], self.lines[1:]
        return lines

    def cancel(self, name):
        self.cancelled.append(name)


RUNNING, DONE = JobState("running"), JobState("succeeded")
FAILED = JobState("failed", "the image cannot be pulled")


def go(service, *, attempts=2, deadline_seconds=60.0):
    run_job(
        service, "run-7", attempts=attempts, poll_seconds=0.01, deadline_seconds=deadline_seconds
    )


def test_a_job_is_started_and_its_lines_are_passed_on(capsys):
    service = Service({"run-7": [RUNNING, RUNNING, DONE]}, lines=[LogLine("1", "epoch 3")])
    go(service)
    assert service.created == ["run-7"]
    assert "[worker 1] epoch 3" in capsys.readouterr().err


def test_a_step_that_is_tried_again_finds_its_job():
    service = Service({})
    service.there["run-7"] = [RUNNING, DONE]
    go(service)
    assert service.created == []


def test_a_job_that_failed_is_left_and_the_next_number_taken():
    service = Service({"run-7": [FAILED], "run-7-2": [RUNNING, DONE]})
    go(service)
    assert service.created == ["run-7", "run-7-2"]


def test_too_many_failures_are_told_with_the_last_lines():
    service = Service({"run-7": [FAILED]}, lines=[LogLine("0", "no such file")])
    with pytest.raises(
        WorkerError, match=r"(?s)the image cannot be pulled.*worker 0. no such file"
    ):
        go(service, attempts=1)


def test_a_service_out_of_order_costs_no_job(capsys):
    service = Service({"run-7": [RUNNING, DONE]}, troubles=4)
    go(service)
    assert service.created == ["run-7"]
    assert "asking again" in capsys.readouterr().err


def test_a_service_that_never_answers_is_given_up():
    moments = iter(range(0, 100_000, 100))
    service = Service({}, troubles=1000)
    with pytest.raises(WorkerError, match=r"does not answer for job run-7: .* 503"):
        run_job(
            service, "run-7", attempts=1, poll_seconds=0.001, deadline_seconds=1e9,
            clock=lambda: next(moments),
        )  # fmt: skip


def test_a_job_that_takes_too_long_is_cancelled():
    service = Service({"run-7": [RUNNING]})
    with pytest.raises(WorkerError, match=r"raise train\.backend\.deadline_hours"):
        go(service, deadline_seconds=0.05)
    assert service.cancelled == ["run-7"]


def test_sigterm_cancels_the_job():
    service = Service({"run-7": [RUNNING]})
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(CancelledError, match="job run-7 was cancelled"):
        go(service)
    timer.join()
    assert service.cancelled == ["run-7"]


def test_a_job_that_somebody_deleted_has_failed():
    service = Service({"run-7": [RUNNING]})
    looks = iter([None, RUNNING, None])
    service.state = lambda name: next(looks)
    with pytest.raises(WorkerError, match="somebody deleted the job"):
        go(service, attempts=1)
