"""Remembers which servers give nothing, so that a dead one costs minutes and not days.

Patience with one image is right; with each of 100,000 images of a server that is gone it would
hold the step for a week. Each process remembers for itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Eight readers find out within some two minutes, one Beam worker within a quarter of an hour.
_IN_A_ROW = 20
_PAUSE_S = 60.0


class Hosts:
    """Counts, for each server, the images in a row that no try could get."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Knows no server yet.

        Args:
            clock: Seconds that only grow.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: dict[str, int] = {}
        self._closed_until: dict[str, float] = {}

    def failures(self, host: str) -> int:
        """Returns the images in a row that this server did not give, 0 where it may be asked.

        Once a minute one caller is let through, to see whether the server is back.
        """
        with self._lock:
            failed = self._failed.get(host, 0)
            if failed < _IN_A_ROW:
                return 0
            now = self._clock()
            if now >= self._closed_until[host]:
                self._closed_until[host] = now + _PAUSE_S
                return 0
            return failed

    def answered(self, host: str) -> None:
        """Takes a server's answer, whatever it said: it is there."""
        with self._lock:
            self._failed.pop(host, None)

    def gave_nothing(self, host: str) -> None:
        """Counts an image that no try could get."""
        with self._lock:
            self._failed[host] = self._failed.get(host, 0) + 1
            self._closed_until[host] = self._clock() + _PAUSE_S
