"""Requests to a worker of Beam's local runner end when the worker does."""

from __future__ import annotations

import queue

import pytest

from components.contracts.beam_workers import LOST, lost_workers_are_told

pytest.importorskip("apache_beam")


@pytest.fixture
def connection():
    from apache_beam.runners.portability.fn_api_runner import worker_handlers

    with lost_workers_are_told():
        return worker_handlers.BeamFnControlServicer(None).get_conn_by_worker_id("worker_1")


class Stream:
    """What a worker says, until `None` (it left) or an error (it was killed)."""

    def __init__(self):
        self.said = queue.Queue()

    def __iter__(self):
        while (one := self.said.get()) is not None:
            if isinstance(one, Exception):
                raise one
            yield one


def request():
    from apache_beam.portability.api import beam_fn_api_pb2

    return beam_fn_api_pb2.InstructionRequest()


def answer(to):
    from apache_beam.portability.api import beam_fn_api_pb2

    return beam_fn_api_pb2.InstructionResponse(instruction_id=to.instruction_id)


@pytest.mark.parametrize("end", [None, RuntimeError("the connection was reset")])
def test_open_requests_fail_when_the_worker_is_gone(connection, end):
    stream = Stream()
    connection.set_input(stream)
    first, second = connection.push(request()), connection.push(request())
    stream.said.put(answer(first))
    assert first.get(timeout=60).instruction_id == first.instruction_id
    stream.said.put(end)
    with pytest.raises(RuntimeError, match=LOST):
        second.get(timeout=60)
    # What was answered stays answered, and what is asked of it now fails at once.
    assert first.get().instruction_id == first.instruction_id
    with pytest.raises(RuntimeError, match=LOST):
        connection.push(request()).get(timeout=60)


def test_a_worker_that_leaves_in_order_fails_nothing(connection):
    stream = Stream()
    connection.set_input(stream)
    only = connection.push(request())
    stream.said.put(answer(only))
    stream.said.put(None)
    connection.close()
    assert only.get(timeout=60).instruction_id == only.instruction_id


def test_beam_has_its_own_connections_again_afterwards():
    from apache_beam.runners.portability.fn_api_runner import worker_handlers

    before = worker_handlers.ControlConnection
    with lost_workers_are_told():
        assert issubclass(worker_handlers.ControlConnection, before)
        assert worker_handlers.ControlConnection is not before
    assert worker_handlers.ControlConnection is before
