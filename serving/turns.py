"""A worker's side of `serving.rotation`: it asks before it loads, and rests when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from components.contracts.errors import LookalikeError
from serving import log
from serving.http_server import HttpServer

# What goes through a pipe: what happened or is to be done, then the channel and what goes with it.
Message = tuple[str, ...]


class Turns(Protocol):
    """When a follower may load."""

    def turn(self, version: str) -> AbstractAsyncContextManager[None]:
        """Waits for the turn to load a version, and ends it.

        Raises:
            LookalikeError: Another worker tried, and the version cannot be loaded.
        """
        ...

    def has(self, version: str) -> None:
        """Tells that a version is in place."""
        ...

    def failed(self, version: str, reason: str) -> None:
        """Tells that a version could not be loaded."""
        ...

    def on_again(self, retry: Callable[[], None]) -> None:
        """Remembers what to call when a version that was refused can be loaded after all."""
        ...


class Alone:
    """There is no other worker to wait for."""

    def turn(self, version: str) -> AbstractAsyncContextManager[None]:
        """Lets everybody load at once."""
        del version
        return contextlib.nullcontext()

    def has(self, version: str) -> None:
        """Tells nobody."""

    def failed(self, version: str, reason: str) -> None:
        """Tells nobody."""

    def on_again(self, retry: Callable[[], None]) -> None:
        """Never calls it."""


ALONE = Alone()


class WorkerTurns:
    """The turns of one worker, for all the channels that it follows."""

    def __init__(self, tell: Callable[[Message], None]) -> None:
        """Begins without one.

        Args:
            tell: Sends a message to the supervisor.
        """
        self._tell = tell
        self._granted: dict[str, asyncio.Future[None]] = {}
        self._again: dict[str, Callable[[], None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.Lock()

    def of(self, channel: str) -> Turns:
        """Returns the turns of one channel's follower."""
        return _ChannelTurns(self, channel)

    def hear(self, message: Message, server: HttpServer) -> None:
        """Does what the supervisor says, with the server of this process; on the event loop."""
        kind, channel, reason = message
        granted = self._granted.get(channel)
        if kind == "accept":
            self._run(self._accept(server))
        elif kind == "load":
            self._run(self._rest(server, granted))
        elif kind == "refuse" and granted is not None and not granted.done():
            granted.set_exception(LookalikeError(reason))
        elif kind == "again" and channel in self._again:
            self._again[channel]()

    def tell(self, *message: str) -> None:
        """Sends a message to the supervisor."""
        self._tell(message)

    def remember(self, channel: str, retry: Callable[[], None]) -> None:
        """See `Turns.on_again`."""
        self._again[channel] = retry

    @contextlib.asynccontextmanager
    async def take(self, channel: str, version: str) -> AsyncIterator[None]:
        """See `Turns.turn`."""
        granted = self._granted[channel] = asyncio.get_running_loop().create_future()
        self._tell(("asks", channel, version))
        try:
            await granted
        except asyncio.CancelledError:
            self._tell(("gives up", channel))
            raise
        try:
            yield
        finally:
            self._tell(("done",))

    async def _accept(self, server: HttpServer) -> None:
        async with self._accepting:
            await server.accept()
        log.event("answers")

    async def _rest(self, server: HttpServer, granted: asyncio.Future[None] | None) -> None:
        async with self._accepting:
            if server.accepting:
                gone = await server.rest()
                log.event("rests", all_connections_ended=gone)
        if granted is None or granted.done():
            # Given up meanwhile; the others need not wait.
            self._tell(("done",))
        else:
            granted.set_result(None)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _ChannelTurns:
    """The turns of one channel's follower."""

    def __init__(self, turns: WorkerTurns, channel: str) -> None:
        self._turns = turns
        self._channel = channel

    def turn(self, version: str) -> AbstractAsyncContextManager[None]:
        return self._turns.take(self._channel, version)

    def has(self, version: str) -> None:
        self._turns.tell("has", self._channel, version)

    def failed(self, version: str, reason: str) -> None:
        self._turns.tell("failed", self._channel, version, reason)

    def on_again(self, retry: Callable[[], None]) -> None:
        self._turns.remember(self._channel, retry)
