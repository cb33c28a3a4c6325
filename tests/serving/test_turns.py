from __future__ import annotations

import asyncio

import pytest

from components.contracts.errors import LookalikeError
from serving.turns import ALONE, WorkerTurns


class FakeServer:
    def __init__(self):
        self.accepting = True
        self.seen = []

    async def accept(self):
        self.accepting = True
        self.seen.append("accept")

    async def rest(self):
        self.accepting = False
        self.seen.append("rest")
        return True


def run(script):
    return asyncio.run(asyncio.wait_for(script, 30))


async def until(check):
    while not check():
        await asyncio.sleep(0.001)


def test_a_worker_asks_rests_loads_and_says_that_it_is_done():
    told, server = [], FakeServer()
    turns = WorkerTurns(told.append)

    async def script():
        async def load():
            async with turns.of("shop").turn("v2"):
                told.append("loading")

        task = asyncio.create_task(load())
        await until(lambda: told)
        assert told == [("asks", "shop", "v2")]
        turns.hear(("load", "shop", ""), server)
        await task
        turns.hear(("accept", "", ""), server)
        await until(lambda: server.accepting)

    run(script())
    assert told == [("asks", "shop", "v2"), "loading", ("done",)]
    assert server.seen == ["rest", "accept"]


def test_one_that_rests_already_loads_at_once():
    told, server = [], FakeServer()
    server.accepting = False
    turns = WorkerTurns(told.append)

    async def script():
        async with asyncio.TaskGroup() as group:

            async def load():
                async with turns.of("shop").turn("v2"):
                    pass

            group.create_task(load())
            await until(lambda: told)
            turns.hear(("load", "shop", ""), server)

    run(script())
    assert server.seen == []
    assert told[-1] == ("done",)


def test_a_failure_ends_the_turn_too():
    told, server = [], FakeServer()
    turns = WorkerTurns(told.append)

    async def load():
        async with turns.of("shop").turn("v2"):
            raise LookalikeError("it is damaged")

    async def script():
        task = asyncio.create_task(load())
        await until(lambda: told)
        turns.hear(("load", "shop", ""), server)
        with pytest.raises(LookalikeError, match="it is damaged"):
            await task

    run(script())
    assert told[-1] == ("done",)


def test_a_refusal_has_its_reason_and_no_turn():
    told = []
    turns = WorkerTurns(told.append)
    retried = []
    turns.of("shop").on_again(lambda: retried.append(True))

    async def load():
        async with turns.of("shop").turn("v2"):
            raise AssertionError("it has no turn")

    async def script():
        task = asyncio.create_task(load())
        await until(lambda: told)
        turns.hear(("refuse", "shop", "it is damaged"), FakeServer())
        with pytest.raises(LookalikeError, match="it is damaged"):
            await task
        turns.hear(("again", "shop", ""), FakeServer())
        turns.hear(("again", "another", ""), FakeServer())

    run(script())
    assert told == [("asks", "shop", "v2")]
    assert retried == [True]


def test_who_gives_up_says_so_and_lets_go_of_a_turn_that_comes_too_late():
    told, server = [], FakeServer()
    turns = WorkerTurns(told.append)

    async def load():
        async with turns.of("shop").turn("v2"):
            raise AssertionError("nobody waits for it")

    async def script():
        task = asyncio.create_task(load())
        await until(lambda: told)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told[-1] == ("gives up", "shop")
        turns.hear(("load", "shop", ""), server)
        await until(lambda: told[-1] == ("done",))

    run(script())
    # It stands by now, as the supervisor thinks.
    assert server.seen == ["rest"]


def test_what_is_in_place_and_what_failed_is_told_by_channel():
    told = []
    turns = WorkerTurns(told.append).of("shop")
    turns.has("v2")
    turns.failed("v3", "it is damaged")
    assert told == [("has", "shop", "v2"), ("failed", "shop", "v3", "it is damaged")]


def test_alone_nobody_waits():
    async def script():
        async with ALONE.turn("v2"):
            return True

    assert run(script())
