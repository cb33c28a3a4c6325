"""One server process: the app on its listener, and what follows the channel."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable

import uvicorn
from fastapi import FastAPI

from components.contracts.errors import LookalikeError
from serving import log, tracing
from serving.app import create_app
from serving.bundle_loader import Loader
from serving.engine import Engine
from serving.follower import Follower, Source
from serving.http_server import HttpServer
from serving.listening import bracketed, quiet_signals
from serving.metrics import Metrics
from serving.query_log import QueryLog
from serving.settings import Settings, default_cache
from serving.sources import ChannelSource, DirectorySource
from serving.telemetry import SILENT, Telemetry
from serving.tracing import Several
from serving.trial import Trial, TrialConfig
from serving.trial_figures import TrialLimits
from serving.turns import ALONE, Message, WorkerTurns
from serving.withdrawals import Withdrawn

# Loading a bundle is work for the interpreter, and the event loop wants it back at once: a thread
# that wants the interpreter waits this long before the other one has to give it up.
_SWITCH_SECONDS = 0.0005


class ServerProcess:
    """The listener, the app and what follows the channel."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        tell_ready: Callable[[str], None],
        *,
        tell: Callable[[Message], None] | None = None,
        accepting: bool = True,
    ) -> None:
        """Puts the parts together; `run` serves.

        Args:
            settings: What to serve and how.
            listener: A listening socket; other processes may accept from it too.
            tell_ready: Called with the version once requests are answered.
            tell: Sends a message to the supervisor, which answers by `hear`; None where there is
                none.
            accepting: Whether connections are taken from the start.
        """
        self._settings = settings
        self._tell_ready = tell_ready
        self._started = time.perf_counter()
        self._failure: BaseException | None = None
        self._engine = Engine(keep_previous=settings.keep_previous)
        self._counts = Metrics()
        self._traces = tracing.from_environment()
        self._telemetry: Telemetry = self._counts
        if self._traces is not None:
            self._telemetry = Several(self._counts, self._traces)
        self._trial: Trial | None = None
        self._second: Follower | None = None
        self._queries: QueryLog | None = None
        self._withdrawn: Withdrawn | None = None
        self._load = Loader()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = None if tell is None else WorkerTurns(tell)
        if settings.bundle is not None:
            self._follower = self._follow(self._engine, DirectorySource(settings.bundle), [])
        else:
            self._follower = self._follow_channels()
        app = create_app(
            self._engine,
            settings,
            self._lifespan,
            self._telemetry,
            counts=self._counts,
            traces=self._traces,
            withdrawn=self._withdrawn,
            trial=self._trial,
            queries=self._queries,
        )
        self._service = app.state.service
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=settings.shutdown_seconds,
        )
        self._server = HttpServer(
            config,
            listener,
            accepting=accepting,
            on_accept=self._service.shedding.lag.forget,
        )

    def run(self) -> int:
        """Serves until it is told to stop.

        Raises:
            LookalikeError: The first bundle cannot be loaded.
        """
        log.configure()
        sys.setswitchinterval(_SWITCH_SECONDS)
        with quiet_signals():
            self._server.run()
        if isinstance(self._failure, LookalikeError):
            raise self._failure
        if self._failure is not None:
            raise LookalikeError(f"the bundle cannot be loaded: {self._failure!r}")
        return 0

    def stop(self) -> None:
        """Stops serving after the open requests; may be called from any thread."""
        self._server.should_exit = True

    def hear(self, message: Message) -> None:
        """Does what the supervisor says; may be called from any thread."""
        loop, turns = self._loop, self._turns
        if loop is not None and turns is not None:
            # A loop that has been closed has nobody left to answer.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(turns.hear, message, self._server)

    def _follow_channels(self) -> Follower:
        """Returns the follower of the channel, and makes what else needs its registry."""
        settings = self._settings
        assert settings.registry
        assert settings.channel
        cache = settings.cache or default_cache()
        source = ChannelSource(
            settings.registry, settings.channel, cache, max_bytes=settings.cache_bytes
        )
        store = source.registry.store
        engines, looks = [self._engine], []
        if settings.second_channel:
            second = Engine(keep_previous=False)
            engines.append(second)
            config = TrialConfig(
                channel=settings.second_channel,
                mode=settings.second_mode,
                share=settings.second_share,
                limits=TrialLimits(),
            )
            self._trial = Trial(config, second, store, self._telemetry)
            looks.append(self._trial.look)
            other = ChannelSource(
                settings.registry, settings.second_channel, cache, max_bytes=settings.cache_bytes
            )
            # Its swaps and failures are the trial's, not those of what is live.
            self._second = self._follow(second, other, [], SILENT)
        self._withdrawn = Withdrawn(
            store,
            settings.channel,
            engines,
            copy=source.state / f"withdrawals-{settings.channel}.json",
            telemetry=self._telemetry,
        )
        self._withdrawn.start_from_copy()
        looks.append(self._withdrawn.look)
        if settings.query_log_share > 0:
            self._queries = QueryLog(
                store,
                settings.channel,
                share=settings.query_log_share,
                seconds=settings.query_log_seconds,
                telemetry=self._telemetry,
            )
        return self._follow(self._engine, source, looks, self._telemetry)

    def _follow(
        self,
        engine: Engine,
        source: Source,
        looks: list[Callable[[], None]],
        telemetry: Telemetry | None = None,
    ) -> Follower:
        settings = self._settings
        channel = settings.channel if engine is self._engine else settings.second_channel
        return Follower(
            engine,
            source,
            self._load,
            poll_seconds=settings.poll_seconds,
            retry_seconds=settings.retry_seconds,
            source_seconds=settings.source_seconds,
            stale_seconds=settings.stale_seconds,
            also=looks,
            telemetry=telemetry or self._telemetry,
            turns=self._turns.of(channel or "") if self._turns and settings.spare else ALONE,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        self._service.start()
        task = asyncio.create_task(self._load_and_follow())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._follower.close()
            if self._second is not None:
                self._second.close()
            if self._traces is not None:
                self._traces.close()
            app.state.console.close()
            self._service.close()

    async def _load_and_follow(self) -> None:
        try:
            await self._follower.start()
            version = self._engine.version
            log.event(
                "ready",
                url=f"http://{bracketed(self._settings.host)}:{self._settings.port}/",
                version=version,
                channel=self._settings.channel,
                seconds=round(time.perf_counter() - self._started, 2),
            )
            self._tell_ready(version)
            if self._turns is not None and self._settings.spare:
                self._follower.yield_to_others()
            if self._settings.bundle is None:
                await asyncio.gather(
                    self._follower.follow(), *([self._second.follow()] if self._second else [])
                )
        except Exception as error:
            # `run` reports it in the main thread, once the server has stopped.
            if not isinstance(error, LookalikeError):
                log.logger.exception("the bundle cannot be loaded")
            self._failure = error
            self._server.should_exit = True
