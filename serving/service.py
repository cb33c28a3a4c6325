"""Answering a question: from which bundle, about what, and who is told of it."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from components.contracts.files import sha256_bytes
from components.contracts.images import BadImageError, ImageLimits
from components.search.query import Found, Wanted
from serving import log, lookup
from serving.batching import OverloadedError
from serving.engine import Engine, LoadedBundle
from serving.image_threads import ImageThreads
from serving.load_shedding import LoadShedding
from serving.photos import Photos
from serving.pictures import Pictures
from serving.problems import Problem
from serving.query_log import QueryLog
from serving.question import Answer, Call, Photo, Question
from serving.retrieval import Retrieval
from serving.settings import Settings
from serving.telemetry import SILENT, Telemetry
from serving.trial import Trial
from serving.withdrawals import Withdrawn

T = TypeVar("T")
# What a canary may refuse without a fault: it need not hold every item or taxon of the live bundle.
_OF_ANOTHER_CATALOG = frozenset(("unknown_item", "unknown_taxon", "withdrawn"))


class Service:
    """What the routes share.

    Attributes:
        engine: What answers.
        settings: Limits.
        telemetry: Who hears what happens.
        withdrawn: What withdraws items; None where there is no registry to keep that in.
        trial: Another bundle that is tried; None for none.
        queries: Counts what is asked; None for not.
        shedding: Deadlines, and what is refused for lack of room or time.
        photos: Receives uploads.
        retrieval: Finds.
        pictures: The catalog's.
    """

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
        self._threads = ImageThreads(settings.image_threads, queue=settings.image_queue)
        self.shedding = LoadShedding(settings, telemetry)
        self.photos = Photos(settings, telemetry, self.shedding, self._threads)
        self.retrieval = Retrieval(settings, telemetry, self.shedding, self._threads)
        self.pictures = Pictures(enabled=settings.images, limits=ImageLimits())

    def start(self) -> None:
        """Begins to watch how late the event loop is; called on it."""
        self.shedding.start()

    def describe(self) -> dict[str, Any]:
        """Returns what `/readyz` answers."""
        detail = {**self.engine.describe(), "worker": os.getpid()}
        if self.trial is not None:
            detail["trial"] = self.trial.describe()
        if self.withdrawn is not None and self.withdrawn.problem:
            detail["withdrawals_error"] = self.withdrawn.problem
        return detail

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
            position = lookup.position(bundle, item_id)
            wanted = lookup.wanted(bundle, question)
            started = time.perf_counter()
            found = await self.retrieval.like_item(bundle, position, wanted, call)
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
            wanted = lookup.wanted(bundle, question)
            started = time.perf_counter()
            found = await self.retrieval.like_photo(bundle, photo, wanted, call)
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
            wanted = lookup.wanted(bundle, question)
            entries: list[tuple[str, Found | Problem]] = []
            positions: dict[int, int] = {}
            for item_id in item_ids:
                try:
                    positions[len(entries)] = lookup.position(bundle, item_id)
                    entries.append((item_id, Found([], [])))
                except Problem as problem:
                    entries.append((item_id, problem))
            if positions:
                started = time.perf_counter()
                found = await self.retrieval.like_items(
                    bundle, list(positions.values()), wanted, call
                )
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
            refused = ""
            try:
                return await ask(other)
            except Problem as problem:
                # The server's own troubles are no fault of the canary.
                if problem.status >= 500:
                    raise
                refused = problem.reason
            except Exception:
                log.logger.exception("the canary failed, the live bundle answers")
                self.trial.failed(other.version)
            answer = await ask(live)
            # A photo that the live bundle takes is no bad photo.
            if refused and refused not in _OF_ANOTHER_CATALOG:
                self.trial.failed(other.version)
            return answer
        return await ask(live)

    async def picture(self, read: Callable[[], T]) -> T:
        """Reads a catalog picture in a worker thread.

        Raises:
            Problem: 404: pictures are not shown here, or this one cannot be. 503: no room.
        """
        if not self.pictures.enabled:
            raise Problem(404, "no_pictures", "this server shows no pictures (start: --images)")
        try:
            return await self._threads.run(read)
        except BadImageError as error:
            raise Problem(404, error.reason, str(error)) from None
        except OverloadedError as error:
            raise self.shedding.refusal(error, Call("pictures", 0.0)) from None

    def close(self) -> None:
        """Lets the worker threads end."""
        self.shedding.stop()
        if self.trial is not None:
            self.trial.close()
        if self.queries is not None:
            self.queries.close()
        self._threads.close()
        self.retrieval.close()

    def tell_found(self, bundle: LoadedBundle, found: Found, wanted: Wanted, route: str) -> None:
        """Tells telemetry of an answer."""
        self.telemetry.answered(
            route,
            asked=wanted.k,
            found=len(found.positions),
            filtered=found.starved,
            version=bundle.version,
        )
