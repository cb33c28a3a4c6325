"""What the routes share: the engine, the limits, and the threads that do the work."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import numpy as np
from fastapi import Request

from components.contracts.catalog import Item
from components.contracts.errors import InputError
from components.contracts.files import sha256_bytes
from components.contracts.images import BadImageError, ImageLimits, admit, plain_jpeg, probe
from components.contracts.page import thumbnail as inline_thumbnail
from components.search.searcher import Vectors
from serving import answers, log, query, views
from serving.batching import Batcher, OverloadedError, TooLateError
from serving.engine import Engine, Hit, LoadedBundle
from serving.loop_lag import LoopLag
from serving.pictures import Pictures
from serving.problems import Problem, shorten
from serving.query import Found, Limits, Wanted
from serving.query_log import QueryLog
from serving.settings import Settings
from serving.telemetry import SILENT, Telemetry
from serving.trial import Trial
from serving.uploads import read_upload
from serving.withdrawals import Withdrawn

T = TypeVar("T")
TIMEOUT_HEADER = "X-Request-Timeout-Ms"
KEY_HEADER = "X-Lookalike-Key"
PHOTO_ROUTE = "/v1/search"
SIMILAR_ROUTE = "/v1/items/{item_id}/similar"
BATCH_ROUTE = "/v1/batch"
# Parts of the catalog that are scored whole take longer than this to be done on the event loop.
_INLINE_ROWS = 2000
# Looking through more bytes for markers than these is not done on the event loop.
INLINE_BYTES = 128 * 1024
_IMAGE_STATUS = {
    "empty_image": 400,
    "too_many_bytes": 413,
    "too_many_pixels": 413,
    "not_an_image": 415,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way.

    Attributes:
        route: The route's template, for telemetry.
        deadline: When nobody waits for the answer any more, by `time.monotonic`.
    """

    route: str
    deadline: float


@dataclass(frozen=True, slots=True)
class Photo:
    """An uploaded photo that passed its checks.

    Attributes:
        query: What the answer tells of it.
        admitted: The bytes that the encoder gets.
    """

    query: answers.PhotoQuery
    admitted: bytes


class Question(NamedTuple):
    """What a request asks for, in its own words.

    Attributes:
        k: Most results.
        department: Id or name of a department; empty for all.
        taxon: Id of a node; empty for all.
        min_score: Smallest cosine.
        exclude_same_product: Whether the images of the query item's own product are left out.
    """

    k: int = 10
    department: str = ""
    taxon: str = ""
    min_score: float = -1.0
    exclude_same_product: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with the bundle that gave it.

    Attributes:
        bundle: The one bundle that everything in it comes from.
        position: Where the item that was asked about stands; -1 for a photo.
        wanted: What was asked for, in the bundle's terms.
        found: What was found.
        seconds: What finding it took.
    """

    bundle: LoadedBundle
    position: int
    wanted: Wanted
    found: Found
    seconds: float


class Service:
    """What the routes share."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        telemetry: Telemetry = SILENT,
        withdrawn: Withdrawn | None = None,
        trial: Trial | None = None,
        queries: QueryLog | None = None,
    ) -> None:
        """Makes the worker threads: decoding and embedding stay off the event loop.

        Args:
            engine: What answers; it may still be empty.
            settings: Limits.
            telemetry: Who hears what happens.
            withdrawn: What withdraws items; None where there is no registry to keep that in.
            trial: Another bundle that is tried; None for none.
            queries: Counts what is asked; None for not.
        """
        self.engine = engine
        self.settings = settings
        self.telemetry = telemetry
        self.withdrawn = withdrawn
        self.trial = trial
        self.queries = queries
        self.limits = ImageLimits(
            max_bytes=settings.max_upload_bytes, max_pixels=settings.max_upload_pixels
        )
        self.pictures = Pictures(enabled=settings.images, limits=ImageLimits())
        self.lag = LoopLag(settings.max_lag_ms / 1000)
        self._inline_seconds = settings.inline_search_ms / 1000
        self._image = ThreadPoolExecutor(settings.image_threads, thread_name_prefix="image")
        self._most_images = settings.image_threads + settings.image_queue
        self._images = 0
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

    def start(self) -> None:
        """Begins to watch how late the event loop is; called on it."""
        self.lag.start(asyncio.get_running_loop())

    def describe(self) -> dict[str, Any]:
        """Returns what `/readyz` answers."""
        detail = {**self.engine.describe(), "worker": os.getpid()}
        if self.trial is not None:
            detail["trial"] = self.trial.describe()
        if self.withdrawn is not None and self.withdrawn.problem:
            detail["withdrawals_error"] = self.withdrawn.problem
        return detail

    def call(self, request: Request, route: str) -> Call:
        """Returns a request's deadline; see `Settings.deadline_seconds`.

        Raises:
            Problem: 422: the header for it is not a number of milliseconds. 503: the event loop
                is late: more requests come than can be answered.
        """
        if self.lag.is_late:
            raise self._shed(OverloadedError(), Call(route, 0.0))
        return Call(route, self.deadline(request.headers.get(TIMEOUT_HEADER)))

    def deadline(self, header: str | None) -> float:
        """Returns when nobody waits any more, by `time.monotonic`.

        Raises:
            Problem: 422: the header is not a number of milliseconds.
        """
        seconds = self.settings.deadline_seconds
        if header is not None:
            try:
                asked = float(header) / 1000
            except ValueError:
                asked = math.nan
            if not 0 < asked < math.inf:
                raise Problem(
                    422,
                    "bad_parameter",
                    f"{TIMEOUT_HEADER}: expected milliseconds, more than 0; received "
                    f"{shorten(header)!r}",
                )
            seconds = min(seconds, asked)
        return time.monotonic() + seconds

    def bundle(self) -> LoadedBundle:
        """Returns the bundle that answers this request to its end.

        Raises:
            Problem: 503: none is in place yet.
        """
        if self.engine.current is None:
            raise Problem(
                503, "not_ready", "the bundle is still being loaded", {"Retry-After": "2"}
            )
        return self.engine.current

    def choose(self, key: str) -> LoadedBundle:
        """Returns the bundle that answers a request: the live one, or the canary.

        Args:
            key: What the choice hangs on: equal keys get the same bundle.

        Raises:
            Problem: 503: none is in place yet.
        """
        live = self.bundle()
        if self.trial is None:
            return live
        return self.trial.canary(key, live) or live

    def position(self, bundle: LoadedBundle, item_id: str) -> int:
        """Returns where an item stands in a bundle.

        Raises:
            Problem: 404: the bundle does not hold it. 410: it is withdrawn.
        """
        position = bundle.items.position(item_id)
        if position is None:
            raise Problem(
                404,
                "unknown_item",
                f"item {shorten(item_id)!r} is not among the {bundle.manifest.items} items of "
                f"version {bundle.version}",
            )
        if position in bundle.withdrawn:
            raise Problem(410, "withdrawn", f"item {shorten(item_id)!r} is withdrawn")
        return position

    def item(self, bundle: LoadedBundle, item_id: str) -> Item:
        """Returns an item.

        Raises:
            Problem: As `position`.
        """
        return bundle.items[self.position(bundle, item_id)]

    def wanted(
        self,
        bundle: LoadedBundle,
        *,
        k: int = 10,
        department: str = "",
        taxon: str = "",
        min_score: float = -1.0,
        exclude_same_product: bool = True,
    ) -> Wanted:
        """Returns what a request asks for, in terms of a bundle; see `Question`.

        Raises:
            Problem: 422: the bundle's taxonomy has no such department or taxon.
        """
        try:
            taxon_id = bundle.taxa.resolve(department, taxon)
        except InputError as error:
            raise Problem(422, "unknown_taxon", f"{error} (version {bundle.version})") from None
        return Wanted(k, taxon_id, min_score, exclude_same_product)

    def similar_now(self, bundle: LoadedBundle, position: int, wanted: Wanted) -> Found | None:
        """Returns what looks like an item, or None when that takes too long for the event loop."""
        limits = bundle.limits(wanted, position)
        if not self._is_quick(bundle, limits):
            return None
        return bundle.find(bundle.vector(position), limits)

    async def ask_item(self, item_id: str, question: Question, key: str, call: Call) -> Answer:
        """Answers what looks like an item, from the live bundle or the canary.

        Args:
            item_id: The item.
            question: What is asked for.
            key: What the choice of the bundle hangs on.
            call: The request.

        Raises:
            Problem: The item or a part of the question is unknown, or there is no room or time.
        """

        async def ask(bundle: LoadedBundle) -> Answer:
            position = self.position(bundle, item_id)
            wanted = self.wanted(bundle, **question._asdict())
            started = time.perf_counter()
            found = await self.like_item(bundle, position, wanted, call, tell=False)
            return Answer(bundle, position, wanted, found, time.perf_counter() - started)

        answer = await self._from_either(key, ask)
        self.note_item(answer, key, call.route)
        return answer

    async def ask_photo(self, photo: Photo, question: Question, key: str, call: Call) -> Answer:
        """Answers what looks like a photo, from the live bundle or the canary.

        Raises:
            Problem: As `ask_item`; or the photo is refused.
        """

        async def ask(bundle: LoadedBundle) -> Answer:
            wanted = self.wanted(bundle, **question._asdict())
            started = time.perf_counter()
            found = await self.like_photo(bundle, photo, wanted, call, tell=False)
            return Answer(bundle, -1, wanted, found, time.perf_counter() - started)

        answer = await self._from_either(key, ask)
        self._note(answer, call.route)
        if self.queries is not None:
            self.queries.photo(answer.bundle.version, sha256_bytes(photo.admitted))
        if self.trial is not None and self.trial.shadows(key):
            self.trial.compare_photo(
                answer.bundle, photo.admitted, answer.wanted, answer.found, answer.seconds
            )
        return answer

    async def ask_items(
        self, item_ids: Sequence[str], question: Question, key: str, call: Call
    ) -> tuple[LoadedBundle, Wanted, list[tuple[str, Found | Problem]]]:
        """Answers what looks like each of many items, all from one bundle.

        Args:
            item_ids: The items.
            question: What is asked for.
            key: What the choice of the bundle hangs on.
            call: The request.

        Returns:
            The bundle, what was asked for in its terms, and for each item its answer or why it
            has none.

        Raises:
            Problem: A part of the question is unknown, or there is no room or time.
        """

        async def ask(
            bundle: LoadedBundle,
        ) -> tuple[LoadedBundle, Wanted, list[tuple[str, Found | Problem]]]:
            wanted = self.wanted(bundle, **question._asdict())
            entries: list[tuple[str, Found | Problem]] = []
            positions: dict[int, int] = {}
            for item_id in item_ids:
                try:
                    positions[len(entries)] = self.position(bundle, item_id)
                    entries.append((item_id, Found([], [])))
                except Problem as problem:
                    entries.append((item_id, problem))
            if positions:
                started = time.perf_counter()
                found = await self.like_items(bundle, list(positions.values()), wanted, call)
                seconds = (time.perf_counter() - started) / len(found)
                for (place, position), one in zip(positions.items(), found, strict=True):
                    entries[place] = (item_ids[place], one)
                    self.note_item(Answer(bundle, position, wanted, one, seconds), key, call.route)
            return bundle, wanted, entries

        return await self._from_either(key, ask)

    def note_item(self, answer: Answer, key: str, route: str) -> None:
        """Tells everybody who wants to know of an answer about an item."""
        self._note(answer, route)
        if self.queries is not None:
            self.queries.item(answer.bundle.version, answer.bundle.items.ids[answer.position])
        if self.trial is not None and self.trial.shadows(key):
            item_id = answer.bundle.items.ids[answer.position]
            self.trial.compare_item(
                answer.bundle, item_id, answer.wanted, answer.found, answer.seconds
            )

    def _note(self, answer: Answer, route: str) -> None:
        self.tell_found(answer.bundle, answer.found, answer.wanted, route)
        if self.trial is not None:
            self.trial.answered(
                answer.bundle.version,
                answer.seconds,
                empty=not answer.found.positions,
                canary=answer.bundle is not self.engine.current
                and answer.bundle is self.trial.engine.current,
            )

    async def _from_either(self, key: str, ask: Callable[[LoadedBundle], Awaitable[T]]) -> T:
        """Asks the canary where it is its turn; the live bundle when not, or when that fails."""
        live = self.bundle()
        other = self.trial.canary(key, live) if self.trial else None
        if other is not None and self.trial is not None:
            try:
                return await ask(other)
            except Problem as problem:
                # The server's own troubles are no fault of the canary; and an item that it does
                # not hold yet, or a taxon, the live bundle may know.
                if problem.status >= 500:
                    raise
            except Exception:
                log.logger.exception("the canary failed, the live bundle answers")
                self.trial.failed(other.version)
        return await ask(live)

    async def like_item(
        self,
        bundle: LoadedBundle,
        position: int,
        wanted: Wanted,
        call: Call,
        *,
        tell: bool = True,
    ) -> Found:
        """Returns what looks like an item: one image a product, never the item itself.

        Raises:
            Problem: 503: there is no room or time.
        """
        limits = bundle.limits(wanted, position)
        found = await self._find(bundle, bundle.vector(position), limits, call)
        if tell:
            self.tell_found(bundle, found, wanted, call.route)
        return found

    async def like_items(
        self, bundle: LoadedBundle, positions: list[int], wanted: Wanted, call: Call
    ) -> list[Found]:
        """Returns what looks like each of several items.

        Raises:
            Problem: As `like_item`.
        """
        vectors = np.concatenate([bundle.vector(position) for position in positions])
        limits = [bundle.limits(wanted, position) for position in positions]

        def search() -> list[Found]:
            found: list[Found] = []
            # In pieces, so that a large batch gives way to others and to its deadline.
            for start in range(0, len(limits), self.settings.search_batch):
                if time.monotonic() > call.deadline:
                    raise TooLateError
                stop = start + self.settings.search_batch
                found += bundle.find_many(vectors[start:stop], limits[start:stop])
            return found

        try:
            return await self._in_image_thread(search)
        except (OverloadedError, TooLateError) as error:
            raise self._shed(error, call) from None

    async def like_photo(
        self, bundle: LoadedBundle, photo: Photo, wanted: Wanted, call: Call, *, tell: bool = True
    ) -> Found:
        """Returns what looks like a photo: one image a product.

        Raises:
            Problem: The photo is refused, or there is no room or time.
        """
        started = time.perf_counter()
        try:
            vector = await self._encoder.submit(bundle, photo.admitted, deadline=call.deadline)
        except (OverloadedError, TooLateError) as error:
            raise self._shed(error, call) from None
        except BadImageError as error:
            raise _image_problem(error) from None
        self.telemetry.stage(call.route, "encode", time.perf_counter() - started)
        found = await self._find(bundle, vector, bundle.limits(wanted), call)
        if tell:
            self.tell_found(bundle, found, wanted, call.route)
        return found

    async def photo(self, request: Request, call: Call) -> Photo:
        """Reads and checks the photo of a request.

        Raises:
            Problem: The upload or the photo is refused, or there is no room or time.
        """
        started = time.perf_counter()
        data = await read_upload(
            request,
            max_bytes=self.settings.max_upload_bytes,
            seconds=self.settings.upload_seconds,
        )
        uploaded = time.perf_counter()
        self.telemetry.stage(call.route, "upload", uploaded - started)

        def check() -> Photo:
            if time.monotonic() > call.deadline:
                raise TooLateError
            kind, width, height = probe(data, self.limits)
            shown = answers.PhotoQuery(format=kind, width=width, height=height)
            return Photo(shown, admit(data, self.limits))

        photo = self.plain_photo(data)
        try:
            if photo is None:
                photo = await self._in_image_thread(check)
        except BadImageError as error:
            raise _image_problem(error) from None
        except (OverloadedError, TooLateError) as error:
            raise self._shed(error, call) from None
        self.telemetry.stage(call.route, "admit", time.perf_counter() - uploaded)
        return photo

    def plain_photo(self, data: bytes) -> Photo | None:
        """Returns a small photo that needs no correction, checked faster than a thread begins.

        What is damaged within it the encoder finds; None for what has to be checked in a thread.
        """
        if len(data) > INLINE_BYTES:
            return None
        size = plain_jpeg(data, self.limits)
        if size is None:
            return None
        return Photo(answers.PhotoQuery(format="JPEG", width=size[0], height=size[1]), data)

    async def picture(self, read: Callable[[], T]) -> T:
        """Reads a catalog picture in a worker thread.

        Raises:
            Problem: 404: pictures are not shown here, or this one cannot be. 503: no room.
        """
        if not self.pictures.enabled:
            raise Problem(404, "no_pictures", "this server shows no pictures (start: --images)")
        try:
            return await self._in_image_thread(read)
        except BadImageError as error:
            raise Problem(404, error.reason, str(error)) from None
        except OverloadedError as error:
            raise self._shed(error, Call("pictures", math.inf)) from None

    async def inline(self, photo: bytes) -> str:
        """Returns an admitted photo as a small picture inside the page."""
        return await self._in_image_thread(lambda: inline_thumbnail(photo, side=224))

    def tile(self, bundle: LoadedBundle, item: Item, score: float | None = None) -> views.Tile:
        """Returns an item as the page shows it."""
        picture = ""
        if self.pictures.enabled:
            picture = f"/v1/items/{quote(item.item_id, safe='')}/thumbnail"
        return views.Tile(item.item_id, item.title, bundle.taxon_path(item), picture, score)

    def tiles(self, bundle: LoadedBundle, found: Found) -> list[views.Tile]:
        """Returns an answer as the page shows it."""
        hits: list[Hit] = bundle.hits(found)
        return [self.tile(bundle, hit.item, hit.score) for hit in hits]

    def close(self) -> None:
        """Lets the worker threads end."""
        self.lag.stop()
        if self.trial is not None:
            self.trial.close()
        if self.queries is not None:
            self.queries.close()
        self._image.shutdown(wait=False, cancel_futures=True)
        self._encoder.close()
        self._searcher.close()

    def tell_found(self, bundle: LoadedBundle, found: Found, wanted: Wanted, route: str) -> None:
        """Tells telemetry of an answer."""
        self.telemetry.answered(
            route,
            asked=wanted.k,
            found=len(found.positions),
            filtered=found.starved,
            version=bundle.version,
        )

    async def _find(
        self, bundle: LoadedBundle, vector: Vectors, limits: Limits, call: Call
    ) -> Found:
        started = time.perf_counter()
        if self._is_quick(bundle, limits):
            found = bundle.find(vector, limits)
        else:
            try:
                found = await self._searcher.submit(
                    bundle, (vector, limits), deadline=call.deadline
                )
            except (OverloadedError, TooLateError) as error:
                raise self._shed(error, call) from None
        self.telemetry.stage(call.route, "search", time.perf_counter() - started)
        return found

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
        self.telemetry.encoder_batch(len(images), time.perf_counter() - started)
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
        self.telemetry.search_batch(len(queries), time.perf_counter() - started)
        return found

    async def _in_image_thread(self, work: Callable[[], T]) -> T:
        if self._images >= self._most_images:
            raise OverloadedError
        self._images += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._image, work)
        finally:
            self._images -= 1

    def _shed(self, error: OverloadedError | TooLateError, call: Call) -> Problem:
        late = isinstance(error, TooLateError)
        self.telemetry.shed(call.route, "deadline" if late else "queue_full")
        return Problem(
            503,
            "deadline" if late else "overloaded",
            "the time for this answer passed before it was begun"
            if late
            else "too many requests wait already; try again, or ask another server",
            {"Retry-After": "1"},
        )


def _image_problem(error: BadImageError) -> Problem:
    return Problem(_IMAGE_STATUS.get(error.reason, 422), error.reason, str(error))
