"""Slowing down whoever guesses: after a few failures an address has to wait, longer each time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from serving.identity.proxies import household


@dataclass
class _Record:
    failures: int
    last: float
    until: float


class Throttle:
    """Counts failed attempts by address, in the memory of this process.

    Attempts during the wait are refused unlooked-at, so they tell a guesser nothing.
    """

    def __init__(
        self,
        *,
        free: int = 5,
        longest_seconds: float = 300.0,
        forget_seconds: float = 900.0,
        kept: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts with nothing against anybody.

        Args:
            free: Failures before the first wait of one second; each further one doubles it.
            longest_seconds: The longest wait.
            forget_seconds: An address that has not failed for so long is forgotten.
            kept: Most addresses to remember; the one that failed the longest ago goes first.
            clock: Seconds; for tests.
        """
        self._free = free
        self._longest = longest_seconds
        self._forget = forget_seconds
        self._kept = kept
        self._clock = clock
        self._records: OrderedDict[str, _Record] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, address: str) -> float:
        """Returns the seconds that an address has to wait; 0 when it may try."""
        now = self._clock()
        with self._lock:
            record = self._records.get(household(address))
            return max(0.0, record.until - now) if record else 0.0

    def failed(self, address: str) -> None:
        """Notes a failed attempt."""
        key, now = household(address), self._clock()
        with self._lock:
            record = self._records.pop(key, None)
            if record is None or now - record.last > self._forget:
                record = _Record(0, now, 0.0)
            record.failures += 1
            record.last = now
            if record.failures >= self._free:
                # The exponent is bounded before the power is taken.
                doublings = min(record.failures - self._free, 20)
                record.until = now + min(self._longest, 2.0**doublings)
            self._records[key] = record
            while len(self._records) > self._kept:
                self._records.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """Forgets what was against an address."""
        with self._lock:
            self._records.pop(household(address), None)
