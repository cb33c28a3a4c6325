"""Waiting for a job elsewhere: started once, followed, cancelled."""

import os
import signal
import threading

import pytest

from components.contracts.errors import InputError
from components.train.group_errors import CancelledError, WorkerError
from components.train.remote_job import JobState, LogLine, ServiceError, is_final, run_job
from components.train.worker import TRY_AGAIN


class Service:
    """Answers from a script: for each job the states that it goes through.

    A job that it created leaves a result when it has succeeded.
    """

    def __init__(self, scripts, result, *, lines=(), troubles=0):
        self.scripts = {name: list(states) for name, states in scripts.items()}
        self.result = result
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
        state = states.pop(0) if len(states) > 1 else states[0]
        if isinstance(state, Exception):
            raise state
        if state.phase == "succeeded" and name in self.created:
            self.result.touch()
        return state

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


@pytest.fixture
def result(tmp_path):
    return tmp_path / "history.json"


def go(service, *, attempts=2, deadline_seconds=60.0):
    run_job(
        service, "run-7", result=[service.result], attempts=attempts, poll_seconds=0.01,
        deadline_seconds=deadline_seconds,
    )  # fmt: skip


def test_a_job_is_started_and_its_lines_are_passed_on(result, capsys):
    service = Service({"run-7": [RUNNING, RUNNING, DONE]}, result, lines=[LogLine("1", "epoch 3")])
    go(service)
    assert service.created == ["run-7"]
    assert service.cancelled == []
    assert "[worker 1] epoch 3" in capsys.readouterr().err


def test_a_step_that_is_tried_again_finds_its_job(result):
    service = Service({}, result)
    service.there["run-7"] = [RUNNING, RUNNING, DONE]
    service.create = None
    timer = threading.Timer(0.2, result.touch)
    timer.start()
    # The result may be seen here a little after the service says that the job is done.
    go(service)
    timer.join()


def test_a_job_that_failed_is_left_and_the_next_number_taken(result):
    service = Service({"run-7": [FAILED], "run-7-2": [RUNNING, DONE]}, result)
    go(service)
    assert service.created == ["run-7", "run-7-2"]


def test_jobs_that_failed_before_use_up_no_attempt(result, capsys):
    service = Service({"run-7-3": [RUNNING, DONE]}, result)
    service.there |= {"run-7": [FAILED], "run-7-2": [JobState("failed", "cancelled", final=True)]}
    go(service, attempts=1)
    assert service.created == ["run-7-3"]
    assert "job run-7-2 has failed before and left no result" in capsys.readouterr().err


def test_a_job_found_running_uses_one_up(result):
    service = Service({"run-7-2": [FAILED]}, result)
    service.there["run-7"] = [RUNNING, FAILED]
    with pytest.raises(WorkerError, match="job run-7-2 failed"):
        go(service, attempts=2)
    assert service.created == ["run-7-2"]


def test_a_job_that_would_fail_again_is_not_repeated(result):
    service = Service({"run-7": [RUNNING, JobState("failed", "no number", final=True)]}, result)
    with pytest.raises(WorkerError, match=r"job run-7 failed \(no number\)"):
        go(service, attempts=4)
    assert service.created == ["run-7"]


def test_a_job_whose_result_was_cleaned_away_is_run_again(result):
    service = Service({"run-7-2": [RUNNING, DONE]}, result)
    service.there["run-7"] = [DONE]
    go(service, attempts=1)
    assert service.created == ["run-7-2"]


def test_a_result_that_is_there_is_enough(result):
    service = Service({}, result)
    service.there["run-7"] = [DONE]
    result.touch()
    go(service)
    assert service.created == []


def test_a_worker_that_fails_after_the_result_is_whole_takes_nothing_away(result):
    service = Service({"run-7": [RUNNING, FAILED]}, result)
    result.touch()
    go(service, attempts=1)


def test_a_job_that_succeeds_and_leaves_nothing_is_told(result):
    moments = iter(range(0, 100_000, 20))
    service = Service({"run-7": [DONE]}, result, lines=[LogLine("0", "saved")])
    service.create = lambda name: service.there.update({name: [DONE]})
    with pytest.raises(WorkerError, match=r"(?s)succeeded, and left no .*history\.json.*saved"):
        run_job(
            service, "run-7", result=[result], attempts=3, poll_seconds=0.001,
            deadline_seconds=1e9, clock=lambda: next(moments),
        )  # fmt: skip


def test_too_many_failures_are_told_with_the_last_lines(result):
    service = Service({"run-7": [FAILED]}, result, lines=[LogLine("0", "no such file")])
    with pytest.raises(
        WorkerError, match=r"(?s)the image cannot be pulled.*worker 0. no such file"
    ):
        go(service, attempts=1)


def test_what_the_workers_wrote_at_the_end_is_read_to_the_last_line(result, capsys):
    lines = [LogLine("0", f"line {number}") for number in range(5)]
    service = Service({"run-7": [DONE]}, result, lines=lines)
    go(service)
    assert "[worker 0] line 4" in capsys.readouterr().err


def test_a_service_out_of_order_costs_no_job(result, capsys):
    service = Service({"run-7": [RUNNING, DONE]}, result, troubles=4)
    go(service)
    assert service.created == ["run-7"]
    assert "asking again" in capsys.readouterr().err


def test_a_service_that_never_answers_is_given_up(result):
    moments = iter(range(0, 100_000, 100))
    service = Service({}, result, troubles=1000)
    with pytest.raises(WorkerError, match=r"does not answer for job run-7: .* 503"):
        run_job(
            service, "run-7", result=[result], attempts=1, poll_seconds=0.001,
            deadline_seconds=1e9, clock=lambda: next(moments),
        )  # fmt: skip
    # Nobody knows whether it runs, and the message says so.
    assert service.cancelled == []


@pytest.mark.parametrize("error", [InputError("answered 403"), ServiceError("503"), KeyError("x")])
def test_lines_that_cannot_be_read_are_told_once_and_cost_no_job(result, error, capsys):
    service = Service({"run-7": [RUNNING, RUNNING, RUNNING, DONE]}, result)

    def refuse(name):
        yield LogLine("0", "the first pod's line")
        raise error

    service.new_lines = refuse
    go(service)
    said = capsys.readouterr().err
    assert said.count("lines of job run-7 are missing here") == 1
    assert "[worker 0] the first pod's line" in said


@pytest.mark.parametrize(
    "error", [InputError("answered 403"), RuntimeError("x"), KeyboardInterrupt()]
)
def test_an_error_that_ends_the_wait_cancels_the_job(result, error):
    service = Service({"run-7": [RUNNING, RUNNING]}, result)
    ask, looks = service.state, iter(range(10))

    def state(name):
        if next(looks) == 2:
            raise error
        return ask(name)

    service.state = state
    with pytest.raises(type(error)):
        go(service)
    assert service.cancelled == ["run-7"]


def test_a_job_that_cannot_be_cancelled_hides_no_error(result, capsys):
    service = Service({"run-7": [InputError("answered 401")]}, result)

    def cancel(name):
        raise InputError("answered 401 again")

    service.cancel = cancel
    with pytest.raises(InputError, match=r"answered 401$"):
        go(service)
    assert "could not be cancelled (answered 401 again); look after it" in capsys.readouterr().err


def test_a_job_that_is_refused_is_not_cancelled(result):
    service = Service({}, result)

    def create(name):
        raise InputError("answered 403")

    service.create = create
    with pytest.raises(InputError, match="answered 403"):
        go(service)
    assert service.cancelled == []


def test_a_job_that_takes_too_long_is_cancelled(result):
    service = Service({"run-7": [RUNNING]}, result)
    with pytest.raises(WorkerError, match=r"within 0\.0 hours.*raise train\.backend\.deadline_hou"):
        go(service, deadline_seconds=0.05)
    assert service.cancelled == ["run-7"]


def test_sigterm_cancels_the_job(result):
    service = Service({"run-7": [RUNNING]}, result)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(CancelledError, match="job run-7 was cancelled"):
        go(service)
    timer.join()
    assert service.cancelled == ["run-7"]


def test_sigterm_ends_the_search_for_a_free_number(result):
    service = Service({}, result)
    looks = []

    def state(name):
        looks.append(name)
        if len(looks) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return FAILED

    service.state = state
    with pytest.raises(CancelledError, match="before a job was started"):
        go(service)
    assert len(looks) == 3


def test_a_job_that_somebody_deleted_is_not_started_again(result):
    service = Service({"run-7": [RUNNING]}, result)
    looks = iter([None, RUNNING, None])
    service.state = lambda name: next(looks)
    with pytest.raises(WorkerError, match="somebody deleted the job"):
        go(service, attempts=3)
    assert service.created == ["run-7"]


@pytest.mark.parametrize(
    ("codes", "final"),
    [
        ([1], True),
        ([2, TRY_AGAIN], True),
        ([TRY_AGAIN], False),
        ([TRY_AGAIN, 0], False),
        ([137], False),
        ([1, 137], False),
        ([139, TRY_AGAIN], False),
        ([], False),
    ],
)
def test_exit_codes_say_whether_another_try_may_help(codes, final):
    assert is_final(codes) is final
