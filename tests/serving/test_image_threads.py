from __future__ import annotations

import asyncio
import threading

import pytest

from serving.batching import OverloadedError
from serving.image_threads import ImageThreads


def test_what_has_no_room_to_wait_is_refused_and_there_is_room_again_later():
    go_on = threading.Event()

    async def script():
        threads = ImageThreads(1, queue=2)
        try:
            held = [asyncio.create_task(threads.run(go_on.wait)) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError):
                await threads.run(lambda: 1)
            go_on.set()
            await asyncio.gather(*held)
            return await threads.run(lambda: 7)
        finally:
            go_on.set()
            threads.close()

    assert asyncio.run(script()) == 7


def test_a_failure_leaves_its_room_to_the_next():
    def fail():
        raise ValueError("broken")

    async def script():
        threads = ImageThreads(1, queue=0)
        try:
            for _ in range(3):
                with pytest.raises(ValueError, match="broken"):
                    await threads.run(fail)
            return await threads.run(lambda: 7)
        finally:
            threads.close()

    assert asyncio.run(script()) == 7
