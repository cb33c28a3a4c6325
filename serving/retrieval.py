"""Finding: photos to vectors, vectors to neighbours, each where it costs others the least.

The encoder and slow searches run in threads, in batches; searches that are measured to be quick
run on the event loop, because a thread and back would take longer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from components.contracts.images import BadImageError
from components.search import query
from components.search.query import Found, Limits, Wanted
from components.search.searcher import Vectors
from serving.batching import Batcher, OverloadedError, TooLateError
from serving.engine import LoadedBundle
from serving.image_threads import ImageThreads
from serving.load_shedding import LoadShedding
from serving.photos import image_problem
from serving.question import Call, Photo
from serving.settings import Settings
from serving.telemetry import Telemetry

Task = TypeVar("Task")
Result = TypeVar("Result")
# Parts of the catalog that are scored whole take longer than this to be done on the event loop.
_INLINE_ROWS = 2000


class Retrieval:
    """Finds what looks like items and photos in a bundle."""

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry,
        shedding: LoadShedding,
        threads: ImageThreads,
    ) -> None:
        """Makes the threads of the encoder and of the searcher.

        Args:
            settings: Sizes of batches and queues.
            telemetry: Hears what took how long.
            shedding: Refuses what there is no room or time for.
            threads: Where many items are searched for at once.
        """
        self._telemetry = telemetry
        self._shedding = shedding
        self._threads = threads
        self._search_batch = settings.search_batch
        self._inline_seconds = settings.inline_search_ms / 1000
        self._encoder: Batcher[LoadedBundle, bytes, Vectors] = Batcher(
            self._encode,
            name="encoder",
            max_batch=settings.encoder_batch,
            max_wait=settings.encoder_wait_ms / 1000,
            max_queue=settings.encoder_queue,
        )
        self._searcher: Batcher[LoadedBundle, tuple[Vectors, Limits], Found] = Batcher(
            self._search,
            name="search",
            max_batch=settings.search_batch,
            max_wait=0.0,
            max_queue=settings.search_queue,
            threads=settings.search_threads,
        )

    def close(self) -> None:
        """Lets the threads end."""
        self._encoder.close()
        self._searcher.close()

    def like_item_now(self, bundle: LoadedBundle, position: int, wanted: Wanted) -> Found | None:
        """Returns what looks like an item, or None when that takes too long for the event loop."""
        limits = bundle.limits(wanted, position)
        if found := bundle.known(limits):
            return found
        if not self._is_quick(bundle, limits):
            return None
        return bundle.find(bundle.vector(position), limits)

    async def like_item(
        self, bundle: LoadedBundle, position: int, wanted: Wanted, call: Call
    ) -> Found:
        """Returns what looks like an item: one image a product, never the item itself.

        Raises:
            Problem: 503: there is no room or time.
        """
        limits = bundle.limits(wanted, position)
        started = time.perf_counter()
        if found := bundle.known(limits):
            self._telemetry.stage(call.route, "search", time.perf_counter() - started)
            return found
        return await self._find(bundle, bundle.vector(position), limits, call)

    async def like_items(
        self, bundle: LoadedBundle, positions: list[int], wanted: Wanted, call: Call
    ) -> list[Found]:
        """Returns what looks like each of several items.

        Raises:
            Problem: As `like_item`.
        """
        limits = [bundle.limits(wanted, position) for position in positions]

        started = begun = time.perf_counter()

        def search() -> list[Found]:
            nonlocal begun
            begun = time.perf_counter()
            found: list[Found] = []
            # In pieces, so that a large batch gives way to others and to its deadline.
            for start in range(0, len(limits), self._search_batch):
                if time.monotonic() > call.deadline:
                    raise TooLateError
                stop = start + self._search_batch
                found += bundle.find_items(limits[start:stop])
            return found

        try:
            result = await self._threads.run(search)
        except (OverloadedError, TooLateError) as error:
            raise self._shedding.refusal(error, call) from None
        self._tell(call, started, begun, "search")
        return result

    async def like_photo(
        self, bundle: LoadedBundle, photo: Photo, wanted: Wanted, call: Call
    ) -> Found:
        """Returns what looks like a photo: one image a product.

        Raises:
            Problem: The photo is refused, or there is no room or time.
        """
        try:
            vector = await self._in_batch(self._encoder, "encode", bundle, photo.admitted, call)
        except BadImageError as error:
            raise image_problem(error) from None
        return await self._find(bundle, vector, bundle.limits(wanted), call)

    async def _find(
        self, bundle: LoadedBundle, vector: Vectors, limits: Limits, call: Call
    ) -> Found:
        if not self._is_quick(bundle, limits):
            return await self._in_batch(self._searcher, "search", bundle, (vector, limits), call)
        started = time.perf_counter()
        found = bundle.find(vector, limits)
        self._telemetry.stage(call.route, "search", time.perf_counter() - started)
        return found

    async def _in_batch(
        self,
        batcher: Batcher[LoadedBundle, Task, Result],
        stage: str,
        bundle: LoadedBundle,
        task: Task,
        call: Call,
    ) -> Result:
        """Does a task with others, and tells how long it waited and how long it took."""
        started = time.perf_counter()
        begun = started

        def begin() -> None:
            nonlocal begun
            begun = time.perf_counter()

        try:
            result = await batcher.submit(bundle, task, deadline=call.deadline, begun=begin)
        except (OverloadedError, TooLateError) as error:
            raise self._shedding.refusal(error, call) from None
        self._tell(call, started, begun, stage)
        return result

    def _tell(self, call: Call, started: float, begun: float, stage: str) -> None:
        """Tells how long a stage waited and took; from the request's own context, as traces want.

        Args:
            call: The request.
            started: When it began to wait, by `time.perf_counter`.
            begun: When its work began.
            stage: What has just ended.
        """
        seconds = time.perf_counter() - begun
        self._telemetry.stage(call.route, "queue", begun - started, seconds)
        self._telemetry.stage(call.route, stage, seconds)

    def _is_quick(self, bundle: LoadedBundle, limits: Limits) -> bool:
        """Whether a search may run on the event loop: a thread and back would take longer."""
        if bundle.search_seconds > self._inline_seconds:
            return False
        if limits.part is None:
            return True
        rows = len(limits.part.rows)
        return rows <= _INLINE_ROWS if query.is_exact(limits) else 4 * rows > len(bundle.items)

    def _encode(
        self, bundle: LoadedBundle, images: Sequence[bytes]
    ) -> Sequence[Vectors | Exception]:
        """Embeds photos in one call; when that fails, in halves: one bad photo spoils no other."""
        started = time.perf_counter()
        try:
            vectors = bundle.encode(images)
        except Exception as error:
            if len(images) == 1:
                return [error]
            half = len(images) // 2
            return [*self._encode(bundle, images[:half]), *self._encode(bundle, images[half:])]
        self._telemetry.encoder_batch(len(images), time.perf_counter() - started)
        return [vectors[row : row + 1] for row in range(len(images))]

    def _search(
        self, bundle: LoadedBundle, queries: Sequence[tuple[Vectors, Limits]]
    ) -> Sequence[Found]:
        started = time.perf_counter()
        if len(queries) == 1:
            found = [bundle.find(*queries[0])]
        else:
            vectors = np.concatenate([vector for vector, _ in queries])
            found = bundle.find_many(vectors, [limits for _, limits in queries])
        self._telemetry.search_batch(len(queries), time.perf_counter() - started)
        return found
