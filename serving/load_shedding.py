"""Deadlines, and refusing what cannot be answered in time instead of letting it wait."""

from __future__ import annotations

import asyncio
import math
import time

from fastapi import Request

from serving.batching import OverloadedError, TooLateError
from serving.loop_lag import LoopLag
from serving.problems import Problem, shorten
from serving.question import Call
from serving.settings import Settings
from serving.telemetry import Telemetry

TIMEOUT_HEADER = "X-Request-Timeout-Ms"


class LoadShedding:
    """Says how long a request may take, and refuses it when there is no room or time.

    Attributes:
        lag: How late the event loop is.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        """Keeps the limits; `start` begins to watch.

        Args:
            settings: See `Settings.deadline_seconds` and `Settings.max_lag_ms`.
            telemetry: Hears of what is refused.
        """
        self._deadline_seconds = settings.deadline_seconds
        self._telemetry = telemetry
        self.lag = LoopLag(settings.max_lag_ms / 1000)

    def start(self) -> None:
        """Begins to watch how late the event loop is; called on it."""
        self.lag.start(asyncio.get_running_loop())

    def stop(self) -> None:
        """Watches no more."""
        self.lag.stop()

    def call(self, request: Request, route: str) -> Call:
        """Returns a request with its deadline.

        Raises:
            Problem: 422: the header for it is not a number of milliseconds. 503: the event loop
                is late: more requests come than can be answered.
        """
        if self.lag.is_late:
            raise self.refusal(OverloadedError(), Call(route, 0.0))
        return Call(route, self.deadline(request.headers.get(TIMEOUT_HEADER)))

    def deadline(self, header: str | None) -> float:
        """Returns when nobody waits any more, by `time.monotonic`.

        Raises:
            Problem: 422: the header is not a number of milliseconds.
        """
        seconds = self._deadline_seconds
        if header is not None:
            try:
                asked = float(header) / 1000
            except ValueError:
                asked = math.nan
            if not 0 < asked < math.inf:
                raise Problem(
                    422,
                    "bad_parameter",
                    f"{TIMEOUT_HEADER}: expected milliseconds, more than 0; received "
                    f"{shorten(header)!r}",
                )
            seconds = min(seconds, asked)
        return time.monotonic() + seconds

    def refusal(self, error: OverloadedError | TooLateError, call: Call) -> Problem:
        """Returns the refusal of a request for which there is no room or time, and counts it."""
        late = isinstance(error, TooLateError)
        self._telemetry.shed(call.route, "deadline" if late else "queue_full")
        return Problem(
            503,
            "deadline" if late else "overloaded",
            "the time for this answer passed before it was begun"
            if late
            else "too many requests wait already; try again, or ask another server",
            {"Retry-After": "1"},
        )
