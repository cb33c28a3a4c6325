"""Where searches run and what is told of them; what they find is tested with the routes."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from components.search.query import Wanted
from serving.image_threads import ImageThreads
from serving.load_shedding import LoadShedding
from serving.photos import Photos
from serving.problems import Problem
from serving.question import Call
from serving.retrieval import Retrieval
from serving.settings import Settings
from serving.telemetry import Telemetry

CALL = Call("/v1/search", math.inf)


class Heard(Telemetry):
    def __init__(self):
        self.stages = []
        self.calls = 0

    def stage(self, route, stage, seconds, ago=0.0):
        assert seconds >= 0
        assert ago >= 0
        self.stages.append(stage)

    def search_batch(self, queries, seconds):
        self.calls += 1


@pytest.fixture
def bundle(maker):
    return maker.loaded("v1")


def run(script, **settings):
    """Runs `script(retrieval, photos)`; returns its result and what was told."""
    heard = Heard()

    async def all_of_it():
        given = Settings(bundle=Path("unused"), **settings)
        threads = ImageThreads(1, queue=4)
        shedding = LoadShedding(given, heard)
        retrieval = Retrieval(given, heard, shedding, threads)
        try:
            return await script(retrieval, Photos(given, heard, shedding, threads))
        finally:
            retrieval.close()
            threads.close()

    return asyncio.run(all_of_it()), heard


def test_quick_searches_run_on_the_event_loop_and_wait_for_nobody(bundle):
    async def script(retrieval, _):
        return await retrieval.like_item(bundle, 0, Wanted(3), CALL)

    found, heard = run(script)
    assert len(found.positions) == 3
    assert (heard.stages, heard.calls) == (["search"], 0)


def test_slow_searches_share_calls_and_tell_how_long_they_waited(bundle):
    bundle.search_seconds = 1.0

    async def script(retrieval, _):
        return await asyncio.gather(
            *(retrieval.like_item(bundle, position, Wanted(3), CALL) for position in range(6))
        )

    found, heard = run(script, search_threads=1)
    assert heard.stages == ["queue", "search"] * 6
    assert heard.calls < 6

    async def one_by_one(retrieval, _):
        assert retrieval.like_item_now(bundle, 0, Wanted(3)) is None
        bundle.search_seconds = 0.0
        return [retrieval.like_item_now(bundle, position, Wanted(3)) for position in range(6)]

    alone, _ = run(one_by_one)
    assert [one.positions for one in found] == [one.positions for one in alone]


def test_many_items_are_one_wait_and_one_search(bundle):
    async def script(retrieval, _):
        return await retrieval.like_items(bundle, [0, 3, 5], Wanted(2), CALL)

    found, heard = run(script)
    assert [len(one.positions) for one in found] == [2, 2, 2]
    assert heard.stages == ["queue", "search"]


def test_a_photo_waits_is_embedded_and_is_searched_for(bundle, maker):
    def photo(photos):
        made = photos.plain(maker.jpeg((220, 30, 30)))
        assert made is not None
        return made

    async def script(retrieval, photos):
        return await retrieval.like_photo(bundle, photo(photos), Wanted(1), CALL)

    found, heard = run(script)
    assert bundle.items.ids[found.positions[0]] == "red1"
    assert heard.stages == ["queue", "encode", "search"]


def test_what_the_table_knows_is_not_searched_for_however_slow_that_is(bundle, small_table):
    small_table(bundle).search_seconds = 1.0
    bundle.searcher = None

    async def script(retrieval, _):
        now = retrieval.like_item_now(bundle, 0, Wanted(3))
        (many,) = await retrieval.like_items(bundle, [0], Wanted(3), CALL)
        return now, await retrieval.like_item(bundle, 0, Wanted(3), CALL), many

    (now, found, many), heard = run(script)
    assert now == found == many
    assert heard.stages == ["queue", "search", "search"]


def test_what_is_too_late_is_not_begun(bundle):
    bundle.search_seconds = 1.0

    async def script(retrieval, _):
        with pytest.raises(Problem) as one:
            await retrieval.like_item(bundle, 0, Wanted(3), Call("/v1/search", 0.0))
        with pytest.raises(Problem) as many:
            await retrieval.like_items(bundle, [0, 1], Wanted(3), Call("/v1/batch", 0.0))
        return one.value.reason, many.value.reason

    reasons, heard = run(script)
    assert reasons == ("deadline", "deadline")
    assert heard.stages == []
