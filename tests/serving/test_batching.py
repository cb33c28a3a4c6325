from __future__ import annotations

import asyncio
import threading
import time

import pytest

from serving.batching import Batcher, OverloadedError, TooLateError

FOREVER = float("inf")


def run(script, work, **options):
    settings = {"name": "test", "max_batch": 4, "max_wait": 0.0, "max_queue": 100, **options}

    async def all_of_it():
        batcher = Batcher(work, **settings)
        try:
            return await asyncio.wait_for(script(batcher), 10)
        finally:
            batcher.close()

    return asyncio.run(all_of_it())


def test_what_waits_while_a_batch_runs_becomes_the_next_one():
    sizes, go_on = [], threading.Event()

    def work(key, tasks):
        sizes.append(len(tasks))
        assert go_on.wait(5)
        return [task * 2 for task in tasks]

    async def script(batcher):
        tasks = [asyncio.create_task(batcher.submit("key", n, deadline=FOREVER)) for n in range(6)]
        await asyncio.sleep(0.05)
        go_on.set()
        return await asyncio.gather(*tasks)

    assert run(script, work) == [0, 2, 4, 6, 8, 10]
    # With no waiting the first one goes alone; the others fill batches of at most four.
    assert sizes == [1, 4, 1]


def test_whoever_waits_hears_when_the_work_begins():
    said, go_on = [], threading.Event()

    def work(key, tasks):
        assert go_on.wait(5)
        return tasks

    async def script(batcher):
        tasks = [
            asyncio.create_task(
                batcher.submit("k", n, deadline=FOREVER, begun=lambda n=n: said.append(n))
            )
            for n in range(3)
        ]
        await asyncio.sleep(0)
        first = list(said)
        go_on.set()
        await asyncio.gather(*tasks)
        return first

    # The first goes alone; the two others begin together, after it.
    assert run(script, work) == [0]
    assert said == [0, 1, 2]


def test_a_wait_gathers_and_a_full_batch_does_not_wait():
    sizes = []

    def work(key, tasks):
        sizes.append(len(tasks))
        return tasks

    async def script(batcher):
        started = time.monotonic()
        await asyncio.gather(*(batcher.submit("k", n, deadline=FOREVER) for n in range(4)))
        full = time.monotonic() - started
        await asyncio.gather(*(batcher.submit("k", n, deadline=FOREVER) for n in range(3)))
        return full, time.monotonic() - started - full

    full, waited = run(script, work, max_wait=0.3)
    assert sizes == [4, 3]
    assert full < 0.25
    assert waited >= 0.28


def test_keys_do_not_share_a_batch():
    seen = []

    def work(key, tasks):
        seen.append((key, list(tasks)))
        return tasks

    async def script(batcher):
        one, other = object(), object()
        keys = [one, one, other, one]
        await asyncio.gather(
            *(batcher.submit(key, n, deadline=FOREVER) for n, key in enumerate(keys))
        )

    run(script, work, max_wait=0.05)
    assert [tasks for _, tasks in seen] == [[0, 1], [2], [3]]


def test_more_than_may_wait_is_refused_and_the_rest_is_done():
    go_on = threading.Event()

    def work(key, tasks):
        assert go_on.wait(5)
        return tasks

    async def script(batcher):
        tasks = [asyncio.create_task(batcher.submit("k", n, deadline=FOREVER)) for n in range(6)]
        await asyncio.sleep(0.05)
        go_on.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = run(script, work, max_batch=1, max_queue=2)
    refused = [one for one in results if isinstance(one, OverloadedError)]
    assert len(refused) == 3
    assert [one for one in results if isinstance(one, int)] == [0, 1, 2]


def test_what_is_too_late_or_no_longer_wanted_is_not_begun():
    begun, go_on = [], threading.Event()

    def work(key, tasks):
        begun.extend(tasks)
        assert go_on.wait(5)
        return tasks

    async def script(batcher):
        first = asyncio.create_task(batcher.submit("k", "first", deadline=FOREVER))
        await asyncio.sleep(0.02)
        late = asyncio.create_task(batcher.submit("k", "late", deadline=time.monotonic() + 0.01))
        gone = asyncio.create_task(batcher.submit("k", "gone", deadline=FOREVER))
        await asyncio.sleep(0.05)
        gone.cancel()
        go_on.set()
        await first
        with pytest.raises(TooLateError):
            await late

    run(script, work)
    assert begun == ["first"]


def test_an_exception_of_one_is_its_own_and_one_of_the_work_is_everybodys():
    def work(key, tasks):
        if "all" in tasks:
            raise RuntimeError("all of them")
        return [ValueError(task) if task == "bad" else task for task in tasks]

    async def script(batcher):
        some = await asyncio.gather(
            *(batcher.submit("k", task, deadline=FOREVER) for task in ("good", "bad")),
            return_exceptions=True,
        )
        every = await asyncio.gather(
            *(batcher.submit("k", task, deadline=FOREVER) for task in ("good", "all")),
            return_exceptions=True,
        )
        return some, every

    some, every = run(script, work, max_wait=0.05)
    assert some[0] == "good"
    assert isinstance(some[1], ValueError)
    assert [str(one) for one in every] == ["all of them"] * 2
