"""Following a channel: a new live bundle is loaded beside the old one and swapped in."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from components.contracts.errors import LookalikeError
from serving import log
from serving.engine import Engine, LoadedBundle, now

_LONGEST_RETRY_SECONDS = 600.0


class Source(Protocol):
    """Where bundles come from; its methods block and are called in a worker thread."""

    def live(self) -> str:
        """Returns the version to serve; empty when there is none."""
        ...

    def fetch(self, version: str) -> Path:
        """Returns a local directory with the bundle, as it came: the loader checks it."""
        ...


class Follower:
    """Keeps an engine at the version that its source says is live."""

    def __init__(
        self,
        engine: Engine,
        source: Source,
        load: Callable[[Path], LoadedBundle],
        *,
        poll_seconds: float,
        retry_seconds: float,
    ) -> None:
        """Prepares; `start` loads the first bundle.

        Args:
            engine: What answers requests.
            source: Where bundles come from.
            load: Loads and checks a bundle directory; blocks.
            poll_seconds: Seconds between two looks at the source.
            retry_seconds: Seconds before a failed version is tried again; doubles each time.
        """
        self._engine = engine
        self._source = source
        self._load = load
        self._poll_seconds = poll_seconds
        self._retry_seconds = retry_seconds
        self._wait = retry_seconds
        self._retry_at = 0.0
        # One thread: bundles are loaded one after the other, whatever the channel does.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="bundle")

    async def start(self) -> None:
        """Loads the first bundle.

        Raises:
            LookalikeError: There is none, or it cannot be loaded: nothing could be served.
        """
        await self._in_worker(self._first)

    async def follow(self) -> None:
        """Looks at the source for ever; returns when cancelled."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            await self.look()

    async def look(self) -> None:
        """Looks once, and swaps when there is something new; never raises for a bad bundle."""
        await self._in_worker(self._look)

    def close(self) -> None:
        """Lets the worker end after what it is doing."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _in_worker(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _first(self) -> None:
        version = self._source.live()
        self._note_live(version)
        self._replace(version)

    def _look(self) -> None:
        status = self._engine.status
        try:
            version = self._source.live()
        except (LookalikeError, OSError) as error:
            if not status.source_error:
                log.event("channel cannot be read", level=logging.WARNING, reason=str(error))
            status.source_error = str(error)
            return
        if version != status.live:
            log.event("channel moved", live=version, serving=self._engine.version)
            self._wait, self._retry_at = self._retry_seconds, 0.0
        self._note_live(version)
        if version == self._engine.version:
            status.failed_version = status.failed_reason = ""
            return
        if not version or time.monotonic() < self._retry_at:
            return
        try:
            self._replace(version)
        except Exception as error:
            # Whatever is wrong with the new one, the last good one serves on.
            status.failed_version, status.failed_reason = version, str(error)
            self._retry_at = time.monotonic() + self._wait
            log.event(
                "bundle refused, the last good one stays",
                level=logging.ERROR,
                refused=version,
                serving=self._engine.version,
                reason=str(error),
                next_try_seconds=self._wait,
            )
            self._wait = min(2 * self._wait, _LONGEST_RETRY_SECONDS)

    def _note_live(self, version: str) -> None:
        status = self._engine.status
        status.live, status.checked_at, status.source_error = version, now(), ""

    def _replace(self, version: str) -> None:
        started = time.perf_counter()
        directory = self._source.fetch(version)
        bundle = self._load(directory)
        if bundle.version != version:
            raise LookalikeError(
                f"expected the bundle {version}, its manifest says {bundle.version}"
            )
        self._engine.swap(bundle)
        # An encoder holds cycles: without this, replaced ones pile up until the collector comes.
        gc.collect()
        log.event(
            "bundle in place",
            version=version,
            items=bundle.manifest.items,
            seconds=round(time.perf_counter() - started, 2),
            stages={name: round(value, 2) for name, value in bundle.timings.items()},
        )
