from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from pathlib import Path

import pytest

from components.contracts.errors import InputError, LookalikeError
from serving.engine import Engine
from serving.follower import Follower
from serving.sources import Fetched


class FakeSource:
    """A channel that says what the test says."""

    def __init__(self, live):
        self.version = live
        self.error = None
        self.kept = ""
        self.noted = []
        self.fetched = []

    def live(self):
        if self.error:
            raise self.error
        return self.version

    def fetch(self, version, *, kept=False):
        self.fetched.append(f"{version}, as kept" if kept else version)
        return Fetched(Path(version), f"sums of {version}")

    def last_good(self):
        return self.kept

    def note_good(self, version):
        self.noted.append(version)


@pytest.fixture
def setting(maker):
    bundles = {version: maker.loaded(version) for version in ("v1", "v2")}
    engine = Engine()
    source = FakeSource("v1")

    def load(directory, *, verified=""):
        assert verified == f"sums of {directory.name}"
        if directory.name not in bundles:
            raise InputError(f"bundle {directory.name} is damaged")
        return bundles[directory.name]

    follower = Follower(engine, source, load, poll_seconds=0.01, retry_seconds=1000)
    yield engine, source, follower, bundles
    follower.close()


def test_a_move_swaps_and_a_standstill_does_not(setting):
    engine, source, follower, _ = setting

    async def script():
        await follower.start()
        assert engine.version == "v1"
        await follower.look()
        assert source.fetched == ["v1"]
        source.version = "v2"
        await follower.look()
        assert engine.version == "v2"

    asyncio.run(script())
    assert engine.status.swaps == 2


def test_a_bad_bundle_leaves_the_last_good_one_and_is_not_tried_again_at_once(setting):
    engine, source, follower, _ = setting

    async def script():
        await follower.start()
        source.version = "bad"
        await follower.look()
        await follower.look()

    asyncio.run(script())
    assert engine.version == "v1"
    assert source.fetched == ["v1", "bad"]
    detail = engine.describe()
    assert detail["ready"] is True
    assert detail["live"] == "bad"
    assert detail["failed"] == {"version": "bad", "reason": "bundle bad is damaged"}


def test_a_newer_bundle_is_tried_at_once_after_a_bad_one(setting):
    engine, source, follower, _ = setting

    async def script():
        await follower.start()
        source.version = "bad"
        await follower.look()
        source.version = "v2"
        await follower.look()

    asyncio.run(script())
    assert engine.version == "v2"
    assert "failed" not in engine.describe()


def test_going_back_to_the_good_one_clears_the_failure_without_loading(setting):
    engine, source, follower, _ = setting

    async def script():
        await follower.start()
        source.version = "bad"
        await follower.look()
        source.version = "v1"
        await follower.look()

    asyncio.run(script())
    assert source.fetched == ["v1", "bad"]
    assert "failed" not in engine.describe()


def test_a_failed_bundle_is_tried_again_when_its_time_has_come(maker):
    engine, source = Engine(), FakeSource("v1")
    good = {"v1": maker.loaded("v1")}

    def load(directory, *, verified=""):
        assert verified == f"sums of {directory.name}"
        if directory.name not in good:
            raise InputError("damaged")
        return good[directory.name]

    follower = Follower(engine, source, load, poll_seconds=0.01, retry_seconds=0.001)

    async def script():
        await follower.start()
        source.version = "v2"
        await follower.look()
        assert engine.version == "v1"
        good["v2"] = maker.loaded("v2")
        await asyncio.sleep(0.01)
        await follower.look()
        assert engine.version == "v2"

    asyncio.run(script())
    follower.close()


def test_an_unreadable_channel_is_reported_and_the_bundle_stays(setting):
    engine, source, follower, _ = setting

    async def script():
        await follower.start()
        source.error = LookalikeError("the store is away")
        await follower.look()
        assert engine.describe()["source_error"] == "the store is away"
        source.error = None
        await follower.look()

    asyncio.run(script())
    assert engine.version == "v1"
    assert "source_error" not in engine.describe()


def test_a_channel_that_was_emptied_leaves_the_bundle(setting):
    engine, source, follower, _ = setting

    async def script():
        await follower.start()
        source.error = LookalikeError("channel has no live bundle")
        await follower.look()

    asyncio.run(script())
    assert engine.version == "v1"


def test_a_bundle_under_another_name_is_refused(setting):
    engine, source, follower, bundles = setting
    bundles["v9"] = bundles["v2"]

    async def script():
        await follower.start()
        source.version = "v9"
        await follower.look()

    asyncio.run(script())
    assert engine.version == "v1"
    assert "its manifest says v2" in engine.status.failed_reason


def test_a_first_bundle_that_cannot_be_loaded_is_an_error(setting):
    _, source, follower, _ = setting
    source.version = "bad"
    with pytest.raises(InputError, match="bad is damaged"):
        asyncio.run(follower.start())


def test_what_was_served_is_remembered(setting):
    _, source, follower, _ = setting

    async def script():
        await follower.start()
        source.version = "v2"
        await follower.look()

    asyncio.run(script())
    follower._worker.shutdown(wait=True)
    assert source.noted == ["v1", "v2"]


def test_going_back_to_the_bundle_before_loads_nothing(setting):
    engine, source, follower, bundles = setting

    async def script():
        await follower.start()
        for version in ("v2", "v1", "v2", "v1"):
            source.version = version
            await follower.look()
            assert engine.current is bundles[version]

    asyncio.run(script())
    assert source.fetched == ["v1", "v2"]


def test_a_rollback_takes_effect_while_another_bundle_is_still_loading(maker):
    bundles = {version: maker.loaded(version) for version in ("v1", "v2", "v3")}
    engine, source = Engine(), FakeSource("v1")
    loading, go_on = threading.Event(), threading.Event()

    def load(directory, *, verified=""):
        if directory.name == "v3":
            loading.set()
            assert go_on.wait(10)
        return bundles[directory.name]

    follower = Follower(engine, source, load, poll_seconds=0.01, retry_seconds=1000)

    async def script():
        await follower.start()
        source.version = "v2"
        await follower.look()
        task = asyncio.create_task(follower.follow())
        source.version = "v3"
        await asyncio.to_thread(loading.wait, 10)
        assert engine.version == "v2"
        source.version = "v1"
        while engine.version != "v1":
            await asyncio.sleep(0.005)
        go_on.set()
        await follower._loading
        # What came too late is not put in place.
        assert engine.version == "v1"
        task.cancel()

    asyncio.run(asyncio.wait_for(script(), 20))
    follower.close()


def test_without_the_registry_the_last_good_bundle_starts_and_is_called_stale(setting):
    engine, source, follower, _ = setting
    source.error, source.kept = LookalikeError("the store is away"), "v2"

    async def script():
        await follower.start()
        detail = engine.describe()
        assert (detail["ready"], detail["version"]) == (True, "v2")
        assert detail["stale_since"]
        assert detail["source_error"] == "the store is away"
        source.error = None
        await follower.look()

    asyncio.run(script())
    detail = engine.describe()
    assert detail["version"] == "v1"
    assert "stale_since" not in detail
    assert source.fetched == ["v2, as kept", "v1"]


def test_without_the_registry_and_without_a_last_good_bundle_there_is_no_start(setting):
    _, source, follower, _ = setting
    source.error = LookalikeError("the store is away")
    with pytest.raises(LookalikeError, match="the store is away"):
        asyncio.run(follower.start())


def test_a_bad_first_bundle_gives_way_to_the_last_good_one(setting):
    engine, source, follower, _ = setting
    source.version, source.kept = "bad", "v2"
    asyncio.run(follower.start())
    detail = engine.describe()
    assert (detail["version"], detail["live"]) == ("v2", "bad")
    assert source.fetched == ["bad", "v2, as kept"]
    assert detail["failed"] == {"version": "bad", "reason": "bundle bad is damaged"}


def test_a_registry_that_does_not_answer_is_waited_for_no_longer_than_told(maker):
    engine, source = Engine(), FakeSource("v1")
    bundle, hang = maker.loaded("v1"), threading.Event()
    source.kept = "v1"
    source.live = lambda: hang.wait(10) and "v1"
    follower = Follower(
        engine,
        source,
        lambda directory, *, verified="": bundle,
        poll_seconds=0.01,
        retry_seconds=1,
        source_seconds=0.05,
    )
    asyncio.run(follower.start())
    assert engine.describe()["source_error"] == "the registry did not answer within 0.05 seconds"
    assert engine.version == "v1"
    hang.set()
    follower.close()


def test_a_long_silence_of_the_registry_makes_what_is_served_stale(setting):
    engine, source, _, bundles = setting
    follower = Follower(
        engine,
        source,
        lambda directory, *, verified="": bundles[directory.name],
        poll_seconds=0.01,
        retry_seconds=1,
        stale_seconds=600.0,
    )

    async def script():
        await follower.start()
        source.error = OSError("away")
        await follower.look()
        assert "stale_since" not in engine.describe()
        follower._answered_at -= 700.0
        await follower.look()

    asyncio.run(script())
    assert engine.describe()["stale_since"]
    follower.close()


def test_what_else_is_to_be_looked_at_is_looked_at_even_when_the_channel_is_away(setting):
    engine, source, _, bundles = setting
    looks = []
    follower = Follower(
        engine,
        source,
        lambda directory, *, verified="": bundles[directory.name],
        poll_seconds=0.01,
        retry_seconds=1,
        also=[lambda: looks.append(1)],
    )

    async def script():
        await follower.start()
        source.error = OSError("away")
        await follower.look()

    asyncio.run(script())
    assert len(looks) == 2
    follower.close()


class FakeTurns:
    """Turns that come when the test says so."""

    def __init__(self):
        self.told = []
        self.come = asyncio.Event()
        self.error = None

    @contextlib.asynccontextmanager
    async def turn(self, version):
        self.told.append(("asks", version))
        try:
            await self.come.wait()
        except asyncio.CancelledError:
            self.told.append(("gives up", version))
            raise
        if self.error:
            raise self.error
        yield
        self.told.append(("done", version))

    def has(self, version):
        self.told.append(("has", version))

    def failed(self, version, reason):
        self.told.append(("failed", version, reason))

    def on_again(self, retry):
        self.retry = retry


@pytest.fixture
def in_turns(setting):
    engine, source, _, bundles = setting

    def load(directory, *, verified=""):
        if directory.name not in bundles:
            raise InputError(f"bundle {directory.name} is damaged")
        return bundles[directory.name]

    turns = FakeTurns()
    follower = Follower(engine, source, load, poll_seconds=0.01, retry_seconds=1000, turns=turns)
    yield engine, source, follower, turns
    follower.close()


async def asked(turns, version):
    while ("asks", version) not in turns.told:
        await asyncio.sleep(0.001)


def test_a_bundle_is_loaded_and_in_place_within_its_turn(in_turns):
    engine, source, follower, turns = in_turns

    async def script():
        await follower.start()
        source.version = "v2"
        look = asyncio.create_task(follower.look())
        await asked(turns, "v2")
        await asyncio.sleep(0.05)
        assert source.fetched == ["v1"]
        assert engine.version == "v1"
        turns.come.set()
        await look

    asyncio.run(script())
    assert engine.version == "v2"
    # The first bundle is nobody's turn: nobody answers yet.
    assert turns.told == [("has", "v1"), ("asks", "v2"), ("has", "v2"), ("done", "v2")]


def test_a_turn_that_nobody_wants_any_more_is_given_up(in_turns):
    engine, source, follower, turns = in_turns

    async def script():
        await follower.start()
        source.version = "v2"
        look = asyncio.create_task(follower.look())
        await asked(turns, "v2")
        source.version = "v1"
        await follower.look()
        await look

    asyncio.run(script())
    assert engine.version == "v1"
    assert source.fetched == ["v1"]
    assert turns.told == [("has", "v1"), ("asks", "v2"), ("gives up", "v2")]


def test_what_another_worker_could_not_load_is_refused_with_its_reason_and_tried_when_it_can(
    in_turns,
):
    engine, source, follower, turns = in_turns

    async def script():
        await follower.start()
        source.version = "v2"
        turns.error = LookalikeError("golden query 3 differs")
        turns.come.set()
        await follower.look()
        assert engine.describe()["failed"] == {"version": "v2", "reason": "golden query 3 differs"}
        turns.error = None
        await follower.look()
        assert engine.version == "v1"
        turns.retry()
        await follower.look()

    asyncio.run(script())
    assert engine.version == "v2"
    assert "failed" not in engine.describe()


def test_a_failure_in_ones_own_turn_is_told(in_turns):
    engine, source, follower, turns = in_turns

    async def script():
        await follower.start()
        source.version = "bad"
        turns.come.set()
        await follower.look()

    asyncio.run(script())
    assert ("failed", "bad", "bundle bad is damaged") in turns.told
    assert engine.version == "v1"


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="no class for idle times here")
def test_one_that_rests_loads_in_idle_times_only(maker):
    bundle, loaded_in = maker.loaded("v1"), []
    source = FakeSource("v1")

    def load(directory, *, verified=""):
        loaded_in.append(os.sched_getscheduler(threading.get_native_id()))
        return bundle

    follower = Follower(Engine(), source, load, poll_seconds=0.01, retry_seconds=1000)
    with contextlib.closing(follower):
        asyncio.run(follower.start())
        follower.yield_to_others()
        source.version = "v2"
        asyncio.run(follower.look())
    assert loaded_in == [os.SCHED_OTHER, os.SCHED_IDLE]
    assert os.sched_getscheduler(threading.get_native_id()) == os.SCHED_OTHER
