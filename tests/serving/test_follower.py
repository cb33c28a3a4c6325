from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from components.contracts.errors import InputError, LookalikeError
from serving.engine import Engine
from serving.follower import Follower


class FakeSource:
    """A channel that says what the test says."""

    def __init__(self, live):
        self.version = live
        self.error = None
        self.fetched = []

    def live(self):
        if self.error:
            raise self.error
        return self.version

    def fetch(self, version):
        self.fetched.append(version)
        return Path(version)


@pytest.fixture
def setting(maker):
    bundles = {version: maker.loaded(version) for version in ("v1", "v2")}
    engine = Engine()
    source = FakeSource("v1")

    def load(directory):
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

    def load(directory):
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
        source.version = ""
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
