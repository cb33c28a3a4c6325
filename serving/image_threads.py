"""The threads for work that would stop the event loop: decoding pictures, searching for batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from serving.batching import OverloadedError

T = TypeVar("T")


class ImageThreads:
    """A few threads, and room for so many that wait for one. Used from one event loop only."""

    def __init__(self, threads: int, *, queue: int) -> None:
        """Makes the threads.

        Args:
            threads: How many work at the same time: each may hold a decoded picture.
            queue: How many more may wait.
        """
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="image")
        self._most = threads + queue
        self._taken = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Does some work in a thread.

        Raises:
            OverloadedError: Too many wait.
        """
        if self._taken >= self._most:
            raise OverloadedError
        self._taken += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._taken -= 1

    def close(self) -> None:
        """Lets the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
