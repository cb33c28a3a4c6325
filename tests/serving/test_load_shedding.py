from __future__ import annotations

import time
from pathlib import Path

import pytest
from starlette.requests import Request

from serving.batching import OverloadedError, TooLateError
from serving.load_shedding import LoadShedding
from serving.problems import Problem
from serving.question import Call
from serving.settings import Settings
from serving.telemetry import Telemetry


class Heard(Telemetry):
    def __init__(self):
        self.sheds = []

    def shed(self, route, reason):
        self.sheds.append((route, reason))


@pytest.fixture
def shedding():
    return LoadShedding(Settings(bundle=Path("unused"), deadline_seconds=8), Heard())


def asked(*headers: tuple[bytes, bytes]) -> Request:
    return Request({"type": "http", "headers": list(headers)})


def test_a_client_may_ask_for_less_time_and_not_for_more(shedding):
    now = time.monotonic()
    assert shedding.deadline(None) == pytest.approx(now + 8, abs=1)
    assert shedding.deadline("500") == pytest.approx(now + 0.5, abs=0.4)
    assert shedding.deadline("99999999") == pytest.approx(now + 8, abs=1)


@pytest.mark.parametrize("value", ["0", "-5", "soon", "nan", "inf", ""])
def test_a_time_that_is_none_is_refused_by_name(shedding, value):
    with pytest.raises(Problem) as caught:
        shedding.call(asked((b"x-request-timeout-ms", value.encode())), "/v1/search")
    assert (caught.value.status, caught.value.reason) == (422, "bad_parameter")
    assert "X-Request-Timeout-Ms: expected milliseconds" in caught.value.detail


@pytest.mark.parametrize(
    ("error", "reason", "counted"),
    [(OverloadedError(), "overloaded", "queue_full"), (TooLateError(), "deadline", "deadline")],
)
def test_a_refusal_says_when_to_come_back_and_is_counted(shedding, error, reason, counted):
    refusal = shedding.refusal(error, Call("/v1/batch", 0.0))
    assert (refusal.status, refusal.reason) == (503, reason)
    assert refusal.headers == {"Retry-After": "1"}
    assert shedding._telemetry.sheds == [("/v1/batch", counted)]


def test_a_late_event_loop_takes_no_calls(shedding, monkeypatch):
    assert shedding.call(asked(), "/v1/search").route == "/v1/search"
    monkeypatch.setattr(type(shedding.lag), "is_late", property(lambda _: True))
    with pytest.raises(Problem, match="too many requests wait") as caught:
        shedding.call(asked(), "/v1/search")
    assert caught.value.status == 503
