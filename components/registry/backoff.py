"""Waiting before another try: exponential, with jitter, up to a deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from components.registry.object_store import (
    ABSENT,
    ObjectNotFoundError,
    ObjectStore,
    OutcomeUnknownError,
    PreconditionFailedError,
    RateLimitedError,
)


@dataclass(frozen=True)
class Backoff:
    """How long to wait between tries, and when to give up.

    Jitter is full (any wait up to the bound): many writers that failed together must not come
    back together. One object of Google Cloud Storage takes about one write a second.

    Attributes:
        first_s: Upper bound of the first wait, in seconds; doubled each time.
        cap_s: Largest upper bound of a wait, in seconds.
        deadline_s: No try starts later than this after the first, in seconds.
        sleep: What waits; tests pass their own.
        clock: Seconds that never go back.
    """

    first_s: float = 0.1
    cap_s: float = 5.0
    deadline_s: float = 120.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def tries(self) -> Iterator[int]:
        """Yields 0, 1, 2 ... with a wait before each but the first, until the deadline."""
        start = self.clock()
        bound = self.first_s
        number = 0
        while True:
            yield number
            number += 1
            wait = random.uniform(0.0, bound)  # noqa: S311
            if self.clock() + wait - start > self.deadline_s:
                return
            self.sleep(wait)
            bound = min(bound * 2, self.cap_s)


def write_once(store: ObjectStore, key: str, data: bytes, backoff: Backoff) -> bool:
    """Writes an object that must not exist yet, and finds out what became of a lost answer.

    Returns:
        True when the object holds `data` now, whoever wrote it; False when it holds something
        else.

    Raises:
        RateLimitedError: The store refused until the deadline.
        OutcomeUnknownError: No answer until the deadline.
    """
    last: RateLimitedError | OutcomeUnknownError | None = None
    for _ in backoff.tries():
        try:
            store.write(key, data, if_generation=ABSENT)
        except PreconditionFailedError:
            try:
                return store.read(key)[0] == data
            except ObjectNotFoundError:
                continue  # Deleted between the two; try again.
        except (RateLimitedError, OutcomeUnknownError) as error:
            last = error
        else:
            return True
    raise last or OutcomeUnknownError(f"{store.uri}: {key}: written and deleted again and again")
