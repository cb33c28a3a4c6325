"""Counting a sample of what is asked, and writing it to the registry now and then."""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from datetime import UTC, datetime

from components.contracts.errors import LookalikeError
from components.registry import query_log
from components.registry.object_store import ObjectStore
from components.registry.query_log import Segment
from serving import log
from serving.telemetry import SILENT, Telemetry

# Different items and photos between two writes; more are dropped and counted.
_MOST_KEYS = 100_000


class QueryLog:
    """Counts on the event loop, writes in a thread of its own."""

    def __init__(
        self,
        store: ObjectStore,
        channel: str,
        *,
        share: float,
        seconds: float,
        telemetry: Telemetry = SILENT,
    ) -> None:
        """Starts the thread.

        Args:
            store: The registry's store.
            channel: The channel.
            share: The share of queries that is counted, in (0, 1].
            seconds: Between two writes.
            telemetry: Hears of what was written and what was dropped.
        """
        self._store = store
        self._channel = channel
        self._share = share
        self._seconds = seconds
        self._telemetry = telemetry
        self._random = random.Random()  # noqa: S311 - a sample, not a secret
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._version = ""
        self._begin()
        self._thread = threading.Thread(target=self._write_on, name="query-log", daemon=True)
        self._thread.start()

    def item(self, version: str, item_id: str) -> None:
        """Notes, perhaps, that an item was asked about."""
        if self._random.random() < self._share:
            self._count(version, item_id, photo=False)

    def photo(self, version: str, digest: str) -> None:
        """Notes, perhaps, that a photo was asked about; only its SHA-256 is kept."""
        if self._random.random() < self._share:
            self._count(version, digest, photo=True)

    def flush(self) -> None:
        """Writes what was counted; blocks, never raises. What cannot be written is dropped."""
        with self._lock:
            items, photos, dropped = self._items, self._photos, self._dropped
            start, version = self._start, self._version
            self._begin()
        lines = len(items) + len(photos)
        if not lines:
            return
        segment = Segment(
            start=start,
            stop=datetime.now(UTC),
            share=self._share,
            version=version,
            items=items,
            photos=photos,
        )
        try:
            query_log.write(self._store, self._channel, segment)
        except (LookalikeError, OSError) as error:
            log.event("query log not written", level=logging.WARNING, reason=str(error))
            self._telemetry.logged_queries(written=0, dropped=lines + dropped)
        else:
            self._telemetry.logged_queries(written=lines, dropped=dropped)

    def close(self) -> None:
        """Writes the rest and ends the thread."""
        self._ending.set()
        self._thread.join(timeout=10.0)

    def _begin(self) -> None:
        self._items: Counter[str] = Counter()
        self._photos: Counter[str] = Counter()
        self._dropped = 0
        self._start = datetime.now(UTC)

    def _count(self, version: str, key: str, *, photo: bool) -> None:
        with self._lock:
            counter = self._photos if photo else self._items
            self._version = version
            if key not in counter and len(counter) >= _MOST_KEYS:
                self._dropped += 1
            else:
                counter[key] += 1

    def _write_on(self) -> None:
        while not self._ending.wait(self._seconds * self._random.uniform(0.8, 1.2)):
            self.flush()
        self.flush()
