"""Following a channel: a new live bundle is loaded beside the old one and swapped in.

Looking and loading are threads of their own: while a bundle is downloaded for minutes, a rollback
to the one in memory, and an item's withdrawal, take effect within a second. Swapping itself is one
assignment on the event loop, between two requests. Where another worker stands by, a bundle is
loaded in turns, by those that answer nobody meanwhile (`serving.turns`).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from components.contracts.errors import LookalikeError
from serving import log
from serving.engine import Engine, LoadedBundle, now
from serving.sources import Fetched
from serving.telemetry import SILENT, Telemetry
from serving.turns import ALONE, Turns

_LONGEST_RETRY_SECONDS = 600.0
# Where there is no class for idle times: a tenth of what an answering process gets.
_LOADING_PRIORITY = 10
T = TypeVar("T")


class Source(Protocol):
    """Where bundles come from; its methods block and are called in worker threads."""

    def live(self) -> str:
        """Returns the version to serve.

        Raises:
            LookalikeError: It cannot be read, or there is none.
        """
        ...

    def fetch(self, version: str, *, kept: bool = False) -> Fetched:
        """Returns a bundle on this machine; `kept`: as it lies here, if it is whole."""
        ...

    def last_good(self) -> str:
        """Returns the version last served from here; empty when none is known."""
        ...

    def note_good(self, version: str) -> None:
        """Remembers what is being served."""
        ...


class Load(Protocol):
    """Loads and checks a bundle; blocks."""

    def __call__(self, directory: Path, *, verified: str = "") -> LoadedBundle:
        """See `serving.bundle_loader.Loader`."""
        ...


class Follower:
    """Keeps an engine at the version that its source says is live."""

    def __init__(
        self,
        engine: Engine,
        source: Source,
        load: Load,
        *,
        poll_seconds: float,
        retry_seconds: float,
        source_seconds: float = 10.0,
        stale_seconds: float = 60.0,
        also: Sequence[Callable[[], None]] = (),
        telemetry: Telemetry = SILENT,
        turns: Turns = ALONE,
    ) -> None:
        """Prepares; `start` loads the first bundle.

        Args:
            engine: What answers requests.
            source: Where bundles come from.
            load: Loads and checks a bundle directory.
            poll_seconds: Seconds between two looks at the source.
            retry_seconds: Seconds before a failed version is tried again; doubles each time.
            source_seconds: Longest wait for an answer of the source, in seconds.
            stale_seconds: Seconds without an answer after which what is served counts as stale.
            also: What else is looked at each time; these block and must not raise.
            telemetry: Hears of swaps and failures.
            turns: When this worker may load, after the first time.
        """
        self._engine = engine
        self._source = source
        self._load_bundle = load
        self._poll_seconds = poll_seconds
        self._retry_seconds = retry_seconds
        self._source_seconds = source_seconds
        self._stale_seconds = stale_seconds
        self._also = also
        self._telemetry = telemetry
        self._turns = turns
        turns.on_again(self._retry_now)
        self._wait = retry_seconds
        self._retry_at = 0.0
        self._answered_at = time.monotonic()
        self._looking: asyncio.Future[str] | None = None
        self._loading: asyncio.Task[None] | None = None
        # The version whose turn is being waited for; empty for none.
        self._waiting = ""
        self._poller = ThreadPoolExecutor(1, thread_name_prefix="channel")
        # One thread: bundles are loaded one after the other, whatever the channel does.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="bundle")

    async def start(self) -> None:
        """Loads the first bundle: the live one, or else the last good one that is kept here.

        Raises:
            LookalikeError: There is none, or it cannot be loaded: nothing could be served.
        """
        kept = self._source.last_good()
        unread = False
        try:
            version = await self._ask()
            self._note_live(version)
        except (LookalikeError, OSError) as error:
            if not kept:
                raise
            self._note_unreadable(error)
            self._note_stale()
            version, unread = kept, True
        try:
            self._put(await self._in_worker(lambda: self._make(version, kept=unread)))
        except Exception as error:
            if kept in ("", version):
                raise
            self._note_failure(version, error, serving=kept)
            bundle = await self._in_worker(lambda: self._make(kept, kept=True))
            self._put(bundle, failed=True)
        self._worker.submit(_collect_garbage)

    async def follow(self) -> None:
        """Looks at the source for ever; returns when cancelled."""
        try:
            while True:
                await asyncio.sleep(self._poll_seconds)
                await self._poll()
        finally:
            if self._loading is not None:
                self._loading.cancel()

    async def look(self) -> None:
        """Looks once, and waits until what is new is in place or refused; never raises for it."""
        await self._poll()
        if self._loading is not None:
            await asyncio.wait((self._loading,))

    def yield_to_others(self) -> None:
        """Lets what is loaded from now on have only the time that nobody else wants.

        For a worker that rests meanwhile: in one that answers, a thread that holds the interpreter
        and gets no time would hold up the answers.
        """
        self._worker.submit(_wait_for_idle_times)

    def close(self) -> None:
        """Lets the threads end after what they are doing."""
        self._poller.shutdown(wait=False, cancel_futures=True)
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _poll(self) -> None:
        try:
            version = await self._ask()
        except (LookalikeError, OSError) as error:
            self._note_unreadable(error)
            if time.monotonic() - self._answered_at > self._stale_seconds:
                self._note_stale()
            return
        status = self._engine.status
        if version != status.live:
            log.event("channel moved", live=version, serving=self._engine.version)
            self._retry_now()
        self._note_live(version)
        if self._loading is not None and self._waiting not in ("", version):
            # Nobody wants that one any more, and nothing of it has begun.
            self._loading.cancel()
        if version == self._engine.version:
            status.failed_version = status.failed_reason = ""
            return
        kept = self._engine.kept(version)
        if kept is not None:
            self._put(kept, started=time.perf_counter())
        elif (self._loading is None or self._loading.done()) and (
            time.monotonic() >= self._retry_at
        ):
            self._loading = asyncio.create_task(self._replace(version))

    async def _ask(self) -> str:
        """Returns the live version.

        Raises:
            LookalikeError, OSError: The source cannot be read, or does not answer in time.
        """
        if self._looking is None or self._looking.done():
            loop = asyncio.get_running_loop()
            self._looking = loop.run_in_executor(self._poller, self._look)
            # When nobody waits for it any more, its failure is no news.
            self._looking.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.wait_for(asyncio.shield(self._looking), self._source_seconds)
        except TimeoutError:
            raise LookalikeError(
                f"the registry did not answer within {self._source_seconds:g} seconds"
            ) from None

    def _look(self) -> str:
        try:
            return self._source.live()
        finally:
            for look in self._also:
                look()

    async def _replace(self, version: str) -> None:
        started = time.perf_counter()
        try:
            self._waiting = version
            async with self._turns.turn(version):
                self._waiting = ""
                bundle = await self._in_worker(lambda: self._make(version))
                # Else the channel has moved on, and the next look brings what is live now.
                if self._engine.status.live == version:
                    self._put(bundle, started=started)
                del bundle
                await self._in_worker(_collect_garbage)
        except Exception as error:
            # Whatever is wrong with the new one, the last good one serves on.
            self._turns.failed(version, str(error))
            self._note_failure(version, error, serving=self._engine.version)
        finally:
            self._waiting = ""

    def _make(self, version: str, *, kept: bool = False) -> LoadedBundle:
        fetched = self._source.fetch(version, kept=kept)
        bundle = self._load_bundle(fetched.directory, verified=fetched.verified)
        if bundle.version != version:
            raise LookalikeError(
                f"expected the bundle {version}, its manifest says {bundle.version}"
            )
        return bundle

    def _put(
        self, bundle: LoadedBundle, *, started: float | None = None, failed: bool = False
    ) -> None:
        """Swaps; on the event loop."""
        status = self._engine.status
        failure = status.failed_version, status.failed_reason
        self._engine.swap(bundle)
        if failed:
            status.failed_version, status.failed_reason = failure
        manifest = bundle.manifest
        self._telemetry.swapped(
            bundle.version, manifest.created, manifest.items, dict(bundle.timings)
        )
        log.event(
            "bundle in place",
            version=bundle.version,
            items=manifest.items,
            seconds=None if started is None else round(time.perf_counter() - started, 2),
            stages={name: round(value, 2) for name, value in bundle.timings.items()},
        )
        self._turns.has(bundle.version)
        self._worker.submit(self._remember, bundle.version)

    def _remember(self, version: str) -> None:
        with contextlib.suppress(OSError):
            self._source.note_good(version)

    def _retry_now(self) -> None:
        self._wait, self._retry_at = self._retry_seconds, 0.0

    def _note_live(self, version: str) -> None:
        status = self._engine.status
        if status.source_error:
            log.event("channel can be read again")
        status.live, status.checked_at, status.source_error = version, now(), ""
        status.stale = ""
        self._answered_at = time.monotonic()
        self._telemetry.source(stale=False, reason="")

    def _note_unreadable(self, error: Exception) -> None:
        status = self._engine.status
        if not status.source_error:
            log.event("channel cannot be read", level=logging.WARNING, reason=str(error))
        status.source_error = str(error)
        self._telemetry.source(stale=bool(status.stale), reason=str(error))

    def _note_stale(self) -> None:
        status = self._engine.status
        if status.stale:
            return
        status.stale = now()
        log.event(
            "what is served may be stale",
            level=logging.ERROR,
            serving=self._engine.version or self._source.last_good(),
            reason=status.source_error,
        )
        self._telemetry.source(stale=True, reason=status.source_error)

    def _note_failure(self, version: str, error: Exception, *, serving: str) -> None:
        status = self._engine.status
        status.failed_version, status.failed_reason = version, str(error)
        self._retry_at = time.monotonic() + self._wait
        log.event(
            "bundle refused, the last good one stays",
            level=logging.ERROR,
            refused=version,
            serving=serving,
            reason=str(error),
            next_try_seconds=self._wait,
        )
        self._telemetry.load_failed(version, str(error))
        self._wait = min(2 * self._wait, _LONGEST_RETRY_SECONDS)

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)


def _wait_for_idle_times() -> None:
    """Puts this thread behind all others.

    Niceness is not enough: since version 6.6 the kernel lets a nice thread finish its turn of some
    3 ms before a request that woke up meanwhile. One of the class SCHED_IDLE gives way at once.
    """
    # Linux takes a thread's number as well as a process's.
    thread = threading.get_native_id()
    try:
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, _LOADING_PRIORITY)


def _collect_garbage() -> None:
    """Frees what was replaced, and takes what stays out of the collector's later rounds.

    An encoder holds cycles: without this, replaced ones pile up until the collector comes. And a
    round over everything that TensorFlow has made stops every request for its whole length.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
