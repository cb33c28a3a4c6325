"""How late the event loop is: the one queue that nobody can count."""

from __future__ import annotations

import asyncio

_PERIOD_SECONDS = 0.05


class LoopLag:
    """Measures how long work waits for the event loop.

    Requests that were accepted wait in the loop itself. A timer that should ring every 50 ms rings
    late by just as much as they wait; when that is too long, new ones are better refused.
    """

    def __init__(self, most: float) -> None:
        """Starts with no lag.

        Args:
            most: The longest lag at which requests are still taken, in seconds.
        """
        self._most = most
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expected = 0.0
        self.seconds = 0.0

    @property
    def is_late(self) -> bool:
        """Whether requests should be refused."""
        return self.seconds > self._most

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to measure; called on the loop."""
        self._loop = loop
        self._expected = loop.time() + _PERIOD_SECONDS
        self._timer = loop.call_at(self._expected, self._ring)

    def forget(self) -> None:
        """Begins anew: what made the loop late while nobody asked is nobody's to wait for."""
        if self._loop is not None:
            self.stop()
            self.seconds = 0.0
            self.start(self._loop)

    def stop(self) -> None:
        """Ends measuring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        assert self._loop is not None
        now = self._loop.time()
        # Halved, so that one long pause (a swap, a garbage collection) refuses nobody.
        self.seconds = (self.seconds + max(0.0, now - self._expected)) / 2
        self._expected = now + _PERIOD_SECONDS
        self._timer = self._loop.call_at(self._expected, self._ring)
