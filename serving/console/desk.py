"""Between the event loop and a registry that may be slow or gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from components.contracts.errors import LookalikeError

T = TypeVar("T")
_THREADS = 4
_MOST_WAITING = 16


class RegistryDownError(LookalikeError):
    """The registry cannot be read, or not in time."""


class Desk:
    """Runs blocking work on a few threads of its own: searching never waits for the console."""

    def __init__(self, *, read_seconds: float = 10.0, act_seconds: float = 60.0) -> None:
        """Starts no thread before the first page.

        Args:
            read_seconds: Longest wait for what a page shows.
            act_seconds: Longest wait for what an operation answers; it goes on after that.
        """
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="console")
        self._read_seconds = read_seconds
        self._act_seconds = act_seconds
        self._waiting = 0

    async def read(self, work: Callable[[], T]) -> T:
        """Returns what `work` reads.

        Raises:
            RegistryDownError: Not in time.
            LookalikeError: What it raised; an OSError comes as RegistryDownError.
        """
        return await self._run(work, self._read_seconds, "gave no answer in {:g} s")

    async def act(self, work: Callable[[], T]) -> T:
        """Returns what `work` did.

        Raises:
            RegistryDownError: Nobody can tell yet whether it was done.
            LookalikeError: What it raised; an OSError comes as RegistryDownError.
        """
        return await self._run(
            work,
            self._act_seconds,
            "gave no answer in {:g} s; whether it was done will stand in the history",
        )

    async def _run(self, work: Callable[[], T], seconds: float, late: str) -> T:
        if self._waiting >= _MOST_WAITING:
            raise RegistryDownError("the registry is slow, and others wait for it; try again")
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._ended)
        try:
            # Cancelling would not stop the thread, only lose what it finds out.
            return await asyncio.wait_for(asyncio.shield(future), seconds)
        except TimeoutError:
            raise RegistryDownError(f"the registry {late.format(seconds)}") from None
        except OSError as error:
            raise RegistryDownError(f"the registry cannot be reached ({error})") from error

    def _ended(self, future: asyncio.Future[T]) -> None:
        self._waiting -= 1
        # Looked at, so that what nobody waited for is not reported as forgotten.
        if not future.cancelled():
            future.exception()

    def later(self, work: Callable[[], None]) -> None:
        """Does something that nobody waits for."""
        self._pool.submit(work)

    def close(self) -> None:
        """Lets the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
