from __future__ import annotations

import asyncio
import time

from serving.loop_lag import LoopLag


def test_a_loop_that_is_held_up_is_late_and_recovers():
    lag = LoopLag(0.5)

    async def script():
        lag.start(asyncio.get_running_loop())
        await asyncio.sleep(0.12)
        # Work that holds the loop, as long queues do.
        time.sleep(1.5)
        await asyncio.sleep(0.01)
        late = lag.is_late
        while lag.is_late:
            await asyncio.sleep(0.05)
        return late

    assert asyncio.run(asyncio.wait_for(script(), 30))
    lag.stop()


def test_what_made_it_late_at_rest_is_forgotten():
    lag = LoopLag(0.5)

    async def script():
        lag.forget()  # Nothing was measured yet.
        lag.start(asyncio.get_running_loop())
        await asyncio.sleep(0.06)
        time.sleep(1.5)
        # Before the timer could ring, and after.
        lag.forget()
        at_once = lag.is_late
        await asyncio.sleep(0.01)
        return at_once, lag.is_late

    assert asyncio.run(script()) == (False, False)
    lag.stop()
