"""Starting and stopping the server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from components.contracts.errors import LookalikeError
from components.contracts.files import write_json
from serving import bundle_loader, log, tracing
from serving.app import create_app
from serving.engine import Engine
from serving.follower import Follower, Source
from serving.identity.config import AccessConfig
from serving.metrics import Metrics
from serving.settings import Settings, default_cache
from serving.sources import ChannelSource, DirectorySource


def serve(
    *,
    registry: str | None,
    channel: str | None,
    bundle: Path | None,
    host: str,
    port: int,
    ready_file: Path | None,
    cache: Path | None,
    images: bool = False,
) -> int:
    """Serves until SIGTERM or SIGINT; see `serving.settings.Settings` for the arguments.

    Returns:
        0: the server was told to stop.

    Raises:
        LookalikeError: Nothing can be served: the port is taken, the channel is empty, the first
            bundle fails a check. The message says what to do.
    """
    settings = Settings(
        registry=registry,
        channel=channel,
        bundle=bundle,
        host=host,
        port=port,
        ready_file=ready_file,
        cache=cache,
        images=images,
        access=AccessConfig.from_environment(),
    )
    return run(settings)


def run(settings: Settings) -> int:
    """Serves as `serve` does, with every setting in the caller's hands."""
    if settings.ready_file is not None:
        settings.ready_file.unlink(missing_ok=True)
    # What is cheap to find out comes first: nobody waits for TensorFlow to hear of a taken port.
    listener = _listen(settings.host, settings.port)
    try:
        return _Process(replace(settings, port=listener.getsockname()[1]), listener).run()
    finally:
        listener.close()


class _Process:
    """One server process: the listener, the app and what follows the channel."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._started = time.perf_counter()
        self._engine = Engine()
        self._counts = Metrics()
        self._follower = Follower(
            self._engine,
            _source(settings),
            bundle_loader.load,
            poll_seconds=settings.poll_seconds,
            retry_seconds=settings.retry_seconds,
        )
        self._failure: BaseException | None = None
        self._traces = tracing.from_environment()
        app = create_app(
            self._engine, settings, self._lifespan, counts=self._counts, traces=self._traces
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="on",
                timeout_graceful_shutdown=settings.shutdown_seconds,
            )
        )

    def run(self) -> int:
        log.configure()
        with _quiet_signals():
            self._server.run(sockets=[self._listener])
        if isinstance(self._failure, LookalikeError):
            raise self._failure
        if self._failure is not None:
            raise LookalikeError(f"the bundle cannot be loaded: {self._failure!r}")
        return 0

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(self._load_and_follow())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._follower.close()
            if self._traces is not None:
                self._traces.close()
            app.state.console.close()
            app.state.service.close()

    async def _load_and_follow(self) -> None:
        try:
            await self._follower.start()
            self._tell_ready()
            if self._settings.bundle is None:
                await self._follower.follow()
        except Exception as error:
            # `run` reports it in the main thread, once the server has stopped.
            if not isinstance(error, LookalikeError):
                log.logger.exception("the bundle cannot be loaded")
            self._failure = error
            self._server.should_exit = True

    def _tell_ready(self) -> None:
        settings = self._settings
        version = self._engine.version
        log.event(
            "ready",
            url=f"http://{_bracketed(settings.host)}:{settings.port}/",
            version=version,
            channel=settings.channel,
            seconds=round(time.perf_counter() - self._started, 2),
        )
        if settings.ready_file is not None:
            write_json(settings.ready_file, {"port": settings.port, "version": version})


def _source(settings: Settings) -> Source:
    if settings.bundle is not None:
        return DirectorySource(settings.bundle)
    assert settings.registry
    assert settings.channel
    source = ChannelSource(settings.registry, settings.channel, settings.cache or default_cache())
    source.require_live()
    return source


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _listen(host: str, port: int) -> socket.socket:
    """Returns a bound socket.

    Raises:
        LookalikeError: The address cannot be bound.
    """
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Listening at once makes a second server on this port fail here, not later.
        listener.listen(2048)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise LookalikeError(
            f"cannot listen on {host} port {port}: {error.strerror}; stop what listens there, or "
            "choose another with --port (0 takes a free one)"
        ) from None
    return listener


@contextlib.contextmanager
def _quiet_signals() -> Iterator[None]:
    """Lets a stop that was asked for end with 0: uvicorn raises the signal again when it is done.

    Outside the main thread there is nothing to do: signals do not arrive there.
    """
    try:
        previous = {
            number: signal.signal(number, lambda *_: None)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m serving`."""
    result = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    result.add_argument("--registry", help="URI of the registry whose channel is followed")
    result.add_argument("--channel", help="channel whose live bundle is served")
    result.add_argument("--bundle", type=Path, help="serve this bundle directory as it is")
    result.add_argument("--host", default="127.0.0.1", help="address to bind (%(default)s)")
    result.add_argument("--port", type=int, default=8000, help="0 takes a free one (%(default)s)")
    result.add_argument("--ready-file", type=Path, help="gets the port and version once ready")
    result.add_argument("--cache", type=Path, help="folder for downloaded bundles")
    result.add_argument(
        "--images",
        action="store_true",
        help="show catalog pictures: local files that are still what was indexed",
    )
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    try:
        return serve(**vars(parser().parse_args(arguments)))
    except LookalikeError as error:
        sys.stderr.write(f"lookalike: {error}\n")
        return error.exit_code
