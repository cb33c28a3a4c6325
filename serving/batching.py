"""Dynamic batches: what waits for the same worker is done in one call.

While a batch is being worked on, the next one gathers: under load batches fill by themselves. A
request that comes alone waits at most `max_wait` for company. The queue is bounded, and what has
waited past its deadline is dropped before any work goes into it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

Key = TypeVar("Key")
Task = TypeVar("Task")
Result = TypeVar("Result")


class OverloadedError(Exception):
    """There is no room: too many wait already."""


class TooLateError(Exception):
    """The deadline passed before the work began."""


def _nothing() -> None:
    """Nobody asks when the work begins."""


@dataclass(slots=True)
class _Waiting(Generic[Key, Task, Result]):
    key: Key
    task: Task
    deadline: float
    future: asyncio.Future[Result]
    begun: Callable[[], None]
    since: float = field(default_factory=time.monotonic)


class Batcher(Generic[Key, Task, Result]):
    """Gathers tasks into batches for one kind of work. Used from one event loop only."""

    def __init__(
        self,
        work: Callable[[Key, Sequence[Task]], Sequence[Result | Exception]],
        *,
        name: str,
        max_batch: int,
        max_wait: float,
        max_queue: int,
        threads: int = 1,
    ) -> None:
        """Makes the worker threads.

        Args:
            work: Called in a worker thread with tasks of one key; returns one result a task, or
                the exception that this task alone gets. What it raises, all of them get.
            name: Of the threads.
            max_batch: Most tasks in one call.
            max_wait: Longest wait for company while a worker is free, in seconds.
            max_queue: Most tasks that wait.
            threads: How many calls may run at the same time.
        """
        self._work = work
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._max_queue = max_queue
        self._free = threads
        self._queue: deque[_Waiting[Key, Task, Result]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return len(self._queue)

    async def submit(
        self, key: Key, task: Task, *, deadline: float, begun: Callable[[], None] = _nothing
    ) -> Result:
        """Does a task, together with others of the same key.

        Args:
            key: Only tasks of equal keys share a batch; compared by identity.
            task: What the work gets.
            deadline: By `time.monotonic`; past it the task is not begun.
            begun: Called on the event loop when waiting is over and the work begins.

        Raises:
            OverloadedError: Too many wait.
            TooLateError: The deadline passed.
        """
        if len(self._queue) >= self._max_queue:
            raise OverloadedError
        loop = asyncio.get_running_loop()
        waiting = _Waiting[Key, Task, Result](key, task, deadline, loop.create_future(), begun)
        self._queue.append(waiting)
        self._look(loop)
        return await waiting.future

    def close(self) -> None:
        """Lets the worker threads end."""
        if self._timer is not None:
            self._timer.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins a batch when a worker is free and enough tasks are there, or have waited."""
        while self._free and self._queue:
            left = self._queue[0].since + self._max_wait - time.monotonic()
            if len(self._queue) < self._max_batch and left > 0:
                if self._timer is None:
                    self._timer = loop.call_later(left, self._on_time, loop)
                return
            if batch := self._take():
                self._free -= 1
                for waiting in batch:
                    waiting.begun()
                running = loop.run_in_executor(
                    self._pool, self._work, batch[0].key, [waiting.task for waiting in batch]
                )
                running.add_done_callback(partial(self._done, loop, batch))

    def _on_time(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._look(loop)

    def _take(self) -> list[_Waiting[Key, Task, Result]]:
        """Takes the next tasks of one key; those that nobody waits for any more fall out."""
        batch: list[_Waiting[Key, Task, Result]] = []
        now = time.monotonic()
        while self._queue and len(batch) < self._max_batch:
            if batch and self._queue[0].key is not batch[0].key:
                break
            waiting = self._queue.popleft()
            if waiting.future.done():
                continue
            if waiting.deadline < now:
                waiting.future.set_exception(TooLateError())
            else:
                batch.append(waiting)
        return batch

    def _done(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[_Waiting[Key, Task, Result]],
        done: asyncio.Future[Sequence[Result | Exception]],
    ) -> None:
        self._free += 1
        failure: BaseException | None = (
            asyncio.CancelledError() if done.cancelled() else done.exception()
        )
        results: Sequence[Result | BaseException]
        results = [failure] * len(batch) if failure else done.result()
        for waiting, result in zip(batch, results, strict=True):
            if waiting.future.done():
                continue
            if isinstance(result, BaseException):
                waiting.future.set_exception(result)
            else:
                waiting.future.set_result(result)
        if not loop.is_closed():
            self._look(loop)
