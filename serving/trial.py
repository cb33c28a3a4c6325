"""Trying another channel's bundle: in the shadow of this one, or for a share of the shoppers.

In the shadow it answers in the background, and only figures are kept. As a canary it answers for
real; which requests hangs on their key alone, so that a shopper stays on one side. A canary that
fails, is slow or finds nothing more often than it may is switched off: here at once, and on every
other server as soon as they read the note that is left in the registry.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from components.contracts.errors import LookalikeError
from components.contracts.files import sha256_bytes
from components.registry import trials
from components.registry.object_store import ObjectStore
from components.search.query import Found, Wanted
from components.search.searcher import Vectors
from serving import log
from serving.engine import Engine, LoadedBundle
from serving.telemetry import SILENT, Telemetry
from serving.trial_figures import Figures, TrialLimits

_MOST_WAITING = 16


@dataclass(frozen=True)
class TrialConfig:
    """How another bundle is tried.

    Attributes:
        channel: The other channel.
        mode: `shadow` or `canary`.
        share: The share of requests that it gets, in [0, 1].
        limits: When a canary is switched off.
    """

    channel: str
    mode: str
    share: float
    limits: TrialLimits


class Trial:
    """The other bundle with what is known of it."""

    def __init__(
        self,
        config: TrialConfig,
        engine: Engine,
        store: ObjectStore | None = None,
        telemetry: Telemetry = SILENT,
    ) -> None:
        """Starts without figures.

        Args:
            config: How it is tried.
            engine: Holds the other bundle; a follower of its own keeps it at its channel.
            store: The registry's store, where a canary's end is noted; None keeps it here.
            telemetry: Hears of comparisons and of a canary's end.
        """
        self.config = config
        self.engine = engine
        self.telemetry = telemetry
        self.figures = Figures()
        self._store = store
        self._ended: dict[str, str] = {}
        self._measured = ""
        self._waiting = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="trial")

    @property
    def bundle(self) -> LoadedBundle | None:
        """The other bundle while it is being tried."""
        bundle = self.engine.current
        if bundle is None or bundle.version in self._ended:
            return None
        return bundle

    def canary(self, key: str, live: LoadedBundle) -> LoadedBundle | None:
        """Returns the other bundle when it answers the requests of this key for real."""
        if self.config.mode != "canary":
            return None
        bundle = self.bundle
        if bundle is None or bundle.version == live.version:
            return None
        return bundle if share_of(key) < self.config.share else None

    def shadows(self, key: str) -> bool:
        """Whether a request is also put to the other bundle in the background."""
        return self.config.mode == "shadow" and share_of(key) < self.config.share

    def answered(self, version: str, seconds: float, *, empty: bool, canary: bool) -> None:
        """Notes an answer for real, of the live bundle or of the canary."""
        if self.config.mode == "canary" and self.bundle is not None:
            self._begin()
            self.figures.note(canary=canary, seconds=seconds, empty=empty)
            if canary:
                self._judge(version)

    def failed(self, version: str) -> None:
        """Notes that the canary could not answer a request; the live bundle did."""
        self._begin()
        self.figures.note_failure()
        self._judge(version)

    def compare_item(
        self, live: LoadedBundle, item_id: str, wanted: Wanted, found: Found, seconds: float
    ) -> None:
        """Puts an item to the other bundle, in the background; drops it where others wait."""

        def ask(other: LoadedBundle) -> Found | None:
            position = other.items.position(item_id)
            if position is None:
                return None
            limits = other.limits(_known(other, wanted), position)
            return other.known(limits) or other.find(other.vector(position), limits)

        self._submit(live, found, seconds, ask)

    def compare_photo(
        self, live: LoadedBundle, admitted: bytes, wanted: Wanted, found: Found, seconds: float
    ) -> None:
        """Puts a photo to the other bundle, in the background; drops it where others wait."""

        def ask(other: LoadedBundle) -> Found | None:
            vector: Vectors = np.asarray(other.encode([admitted]))
            return other.find(vector, other.limits(_known(other, wanted)))

        self._submit(live, found, seconds, ask)

    def look(self) -> None:
        """Reads whether another server has ended the canary; blocks, never raises."""
        bundle = self.engine.current
        if self._store is None or bundle is None or bundle.version in self._ended:
            return
        try:
            reason = trials.ended(self._store, self.config.channel, bundle.version)
        except (LookalikeError, OSError):
            return  # The next look comes in a second, and our own limits hold meanwhile.
        if reason:
            self._ended[bundle.version] = reason
            log.event(
                "canary ended by another server",
                level=logging.WARNING,
                version=bundle.version,
                reason=reason,
            )

    def describe(self) -> dict[str, Any]:
        """Returns what `/readyz` and the console show."""
        version = self.engine.version
        return {
            "channel": self.config.channel,
            "mode": self.config.mode,
            "share": self.config.share,
            "version": version or None,
            "active": self.bundle is not None,
            "ended": self._ended.get(version) or None,
            "load_failed": self.engine.describe().get("failed"),
            **asdict(self.figures.summary()),
        }

    def close(self) -> None:
        """Lets the thread end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        """Forgets the figures of another version."""
        if self._measured != self.engine.version:
            self._measured = self.engine.version
            self.figures = Figures()

    def _judge(self, version: str) -> None:
        reason = self.figures.passed_limit(self.config.limits)
        if not reason or version in self._ended:
            return
        self._ended[version] = reason
        log.event("canary switched off", level=logging.ERROR, version=version, reason=reason)
        self.telemetry.stepped_back(version, reason)
        if self._store is not None:
            self._pool.submit(self._leave_note, self._store, version, reason)

    def _leave_note(self, store: ObjectStore, version: str, reason: str) -> None:
        try:
            trials.end(store, self.config.channel, version, reason)
        except (LookalikeError, OSError) as error:
            log.event(
                "the canary's end is not noted in the registry: other servers find out themselves",
                level=logging.WARNING,
                reason=str(error),
            )

    def _submit(
        self,
        live: LoadedBundle,
        found: Found,
        seconds: float,
        ask: Callable[[LoadedBundle], Found | None],
    ) -> None:
        other = self.bundle
        if other is None or other.version == live.version or self._waiting >= _MOST_WAITING:
            return
        self._waiting += 1
        self._begin()

        def work() -> tuple[Found | None, float]:
            started = time.perf_counter()
            return ask(other), time.perf_counter() - started

        def done(future: asyncio.Future[tuple[Found | None, float]]) -> None:
            self._waiting -= 1
            if future.cancelled():
                return
            if future.exception() is not None:
                self.figures.note_failure()
                return
            answer, other_seconds = future.result()
            if answer is not None:
                self._note_comparison(live, other, found, answer, seconds, other_seconds)

        asyncio.get_running_loop().run_in_executor(self._pool, work).add_done_callback(done)

    def _note_comparison(
        self,
        live: LoadedBundle,
        other: LoadedBundle,
        found: Found,
        answer: Found,
        live_seconds: float,
        other_seconds: float,
    ) -> None:
        ours = {live.items.ids[position] for position in found.positions}
        theirs = {other.items.ids[position] for position in answer.positions}
        # Against the longer answer: both being short is no difference.
        overlap = len(ours & theirs) / max(1, len(ours), len(theirs)) if ours or theirs else 1.0
        self.figures.note(canary=False, seconds=live_seconds, empty=not ours)
        self.figures.note(canary=True, seconds=other_seconds, empty=not theirs)
        self.figures.note_overlap(overlap)
        self.telemetry.compared(
            live=live.version,
            other=other.version,
            overlap=overlap,
            live_seconds=live_seconds,
            other_seconds=other_seconds,
            other_empty=not theirs,
        )


def share_of(key: str) -> float:
    """Returns a number in [0, 1) that hangs on the key alone."""
    digest = hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest) / 2.0**64


def photo_key(data: bytes) -> str:
    """Returns the key of a photo that came without one."""
    return sha256_bytes(data)


def _known(bundle: LoadedBundle, wanted: Wanted) -> Wanted:
    """Returns the question without a taxon that the other bundle does not have."""
    if not wanted.taxon_id or wanted.taxon_id in bundle.taxonomy:
        return wanted
    return Wanted(wanted.k, "", wanted.min_score, wanted.exclude_same_product)
