from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components.contracts.errors import LookalikeError
from components.registry import claims, swap, sweep
from components.registry.backoff import Backoff
from components.registry.channel import ChannelError
from components.registry.object_store import ObjectStore
from components.registry.registry import Registry

Make = Callable[..., Path]
QUICK = Backoff(first_s=0.001, cap_s=0.002, deadline_s=2.0)
DAY = 86400.0


@pytest.fixture
def registry(store: ObjectStore, tmp_path: Path, make_bundle: Make) -> Registry:
    """A registry with v1 to v4, of which nothing is live."""
    registry = Registry(store, QUICK)
    for version in ("v1", "v2", "v3", "v4"):
        registry.publish_bundle(make_bundle(tmp_path / "built", version))
    return registry


def doomed(
    registry: Registry, *, keep: int = 0, older: float = 0.0, later: float = 60.0
) -> list[str]:
    """Returns what a sweep would remove, `later` seconds from now."""
    plan = sweep.plan(registry.store, keep=keep, older_than_s=older, now=time.time() + later)
    return [one.version for one in plan.doomed]


def test_spares_the_newest_and_the_young(registry: Registry) -> None:
    assert doomed(registry) == ["v1", "v2", "v3", "v4"]
    assert doomed(registry, keep=3) == ["v1"]
    assert doomed(registry, older=DAY) == []
    assert doomed(registry, older=DAY, later=DAY + 60) == ["v1", "v2", "v3", "v4"]


def test_spares_what_channels_refer_to(registry: Registry) -> None:
    registry.move("prod", to="v1", who="a", why="b")
    registry.move("prod", to="v2", who="a", why="b")
    registry.quarantine("canary", "v3", who="a", why="b")
    plan = sweep.plan(registry.store, keep=0, older_than_s=0, now=time.time() + 60)
    assert [one.version for one in plan.doomed] == ["v4"]
    assert plan.kept == {
        "v1": "in the last moves of prod",
        "v2": "live on prod",
        "v3": "quarantined on canary",
    }


def delta_of(origin: str) -> dict[str, object]:
    """The lineage that a delta's manifest holds."""
    return {"delta": {"origin": origin, "origin_digest": "0" * 64, "base": origin, "depth": 1}}


def test_spares_the_whole_build_that_a_delta_came_from(
    registry: Registry, tmp_path: Path, make_bundle: Make
) -> None:
    for version in ("d1", "d2"):
        lineage = delta_of("v1" if version == "d1" else "v2")
        registry.publish_bundle(make_bundle(tmp_path / "built", version, lineage=lineage))
    registry.move("prod", to="d1", who="a", why="b")
    plan = sweep.plan(registry.store, keep=0, older_than_s=0, now=time.time() + 60)
    # d2 is nobody's, so that its origin is not needed either.
    assert [one.version for one in plan.doomed] == ["d2", "v2", "v3", "v4"]
    assert plan.kept == {"d1": "live on prod", "v1": "the whole build that d1 came from"}
    removed = sweep.sweep(registry.store, plan.doomed, QUICK)
    assert [one.version for one in removed] == ["d2", "v2", "v3", "v4"]
    assert sorted(registry.versions()) == ["d1", "v1"]


def test_a_delta_promoted_after_the_plan_saves_its_origin(
    registry: Registry, tmp_path: Path, make_bundle: Make
) -> None:
    registry.publish_bundle(make_bundle(tmp_path / "built", "d1", lineage=delta_of("v1")))
    plan = sweep.plan(registry.store, keep=0, older_than_s=0, now=time.time() + 60)
    assert [one.version for one in plan.doomed] == ["d1", "v1", "v2", "v3", "v4"]
    registry.move("prod", to="d1", who="a", why="b")
    removed = sweep.sweep(registry.store, plan.doomed, QUICK)
    assert [one.version for one in removed] == ["v2", "v3", "v4"]
    assert list(registry.store.list("condemned/")) == []


def test_a_delta_published_after_the_plan_saves_its_origin(
    registry: Registry, tmp_path: Path, make_bundle: Make
) -> None:
    plan = sweep.plan(registry.store, keep=0, older_than_s=0, now=time.time() + 60)
    registry.publish_bundle(make_bundle(tmp_path / "built", "d1", lineage=delta_of("v1")))
    removed = sweep.sweep(registry.store, plan.doomed, QUICK)
    assert [one.version for one in removed] == ["v2", "v3", "v4"]
    assert sorted(registry.versions()) == ["d1", "v1"]


def test_a_manifest_that_cannot_be_read_names_no_origin(registry: Registry) -> None:
    registry.store.write("bundles/v2/manifest.json", b"{not json")
    registry.store.write("bundles/v3/manifest.json", json.dumps({"lineage": [1]}).encode())
    assert sweep.origins(registry.store, ["v1", "v2", "v3", "gone"]) == {}


def test_what_fell_out_of_the_last_fifty_moves_may_go(registry: Registry) -> None:
    registry.move("prod", to="v4", who="a", why="b")
    for number in range(51):
        registry.move("prod", to=f"v{number % 2 + 1}", who="a", why="b")
    assert doomed(registry) == ["v3", "v4"]


def test_removes_what_the_plan_named_and_nothing_else(registry: Registry) -> None:
    registry.move("prod", to="v1", who="a", why="b")
    plan = sweep.plan(registry.store, keep=1, older_than_s=0, now=time.time() + 60)
    removed = sweep.sweep(registry.store, plan.doomed, QUICK)
    assert [one.version for one in removed] == ["v2", "v3"]
    assert sorted(registry.versions()) == ["v1", "v4"]
    for version in ("v1", "v4"):
        assert registry.verify(version) == []
    keys = [info.key for info in registry.store.list("")]
    assert {key.split("/")[0] for key in keys} == {"bundles", "channels"}
    assert not any(key.startswith(("bundles/v2/", "bundles/v3/")) for key in keys)


def test_a_promotion_after_the_plan_saves_the_version(registry: Registry) -> None:
    plan = sweep.plan(registry.store, keep=0, older_than_s=0, now=time.time() + 60)
    registry.move("prod", to="v2", who="a", why="b")
    removed = sweep.sweep(registry.store, plan.doomed, QUICK)
    assert [one.version for one in removed] == ["v1", "v3", "v4"]
    assert registry.verify(registry.channel("prod").live) == []
    assert list(registry.store.list("condemned/")) == []


def test_a_promotion_under_way_sees_the_sentence(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The promotion has decided, but not yet swapped, when the sweep condemns its version."""
    registry.move("prod", to="v1", who="a", why="b")
    write = type(registry.store).write
    swept: list[str] = []

    def sweep_first(self: ObjectStore, key: str, data: bytes, **condition: int) -> int:
        if key == "channels/prod.json" and not swept:
            swept.append(key)
            plan = sweep.plan(self, keep=0, older_than_s=0, now=time.time() + 60)
            removed = sweep.sweep(self, plan.doomed, QUICK)
            swept.extend(one.version for one in removed)
        return write(self, key, data, **condition)

    monkeypatch.setattr(type(registry.store), "write", sweep_first)
    with pytest.raises(LookalikeError, match="v2 is not in the registry"):
        registry.move("prod", to="v2", who="a", why="b")
    assert swept[1:] == ["v2", "v3", "v4"]
    assert registry.channel("prod").live == "v1"


def test_a_first_promotion_of_a_channel_sees_the_sentence(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = type(registry.store).write
    swept: list[str] = []

    def sweep_at_the_second(self: ObjectStore, key: str, data: bytes, **condition: int) -> int:
        if key == "channels/new.json":
            swept.append(key)
            if len(swept) == 2:
                plan = sweep.plan(self, keep=0, older_than_s=0, now=time.time() + 60)
                sweep.sweep(self, plan.doomed, QUICK)
        return write(self, key, data, **condition)

    monkeypatch.setattr(type(registry.store), "write", sweep_at_the_second)
    with pytest.raises(LookalikeError, match="v2 is not in the registry"):
        registry.move("new", to="v2", who="a", why="b")
    assert registry.channel("new").live == ""


@pytest.mark.parametrize("stop_at", range(1, 12))
def test_a_sweep_that_is_killed_is_taken_up_by_the_next(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    registry.move("prod", to="v1", who="a", why="b")
    plan = sweep.plan(registry.store, keep=1, older_than_s=0, now=time.time() + 60)
    kind, calls = type(registry.store), []

    def counted(name: str) -> Callable[..., object]:
        real = getattr(kind, name)

        def call(self: ObjectStore, *arguments: object, **options: object) -> object:
            calls.append(name)
            if len(calls) == stop_at:
                raise KeyboardInterrupt
            return real(self, *arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(kind, "write", counted("write"))
        patch.setattr(kind, "delete", counted("delete"))
        with pytest.raises(KeyboardInterrupt):
            sweep.sweep(registry.store, plan.doomed, QUICK)
    # Whatever is visible is whole.
    for version in registry.versions():
        assert registry.verify(version) == []
    plan = sweep.plan(registry.store, keep=1, older_than_s=0, now=time.time() + 60)
    sweep.sweep(registry.store, plan.doomed, QUICK)
    assert sorted(registry.versions()) == ["v1", "v4"]
    keys = {info.key.split("/")[0] for info in registry.store.list("")}
    assert keys == {"bundles", "channels"}


def test_dead_uploads_go_and_living_ones_stay(registry: Registry) -> None:
    for version in ("dead", "living", "silent"):
        registry.store.write(f"bundles/{version}/items.jsonl", b"{}")
    host = os.uname().nodename
    registry.store.write(
        "claims/dead.json", json.dumps({"digest": "d", "host": host, "pid": 2**22 + 1}).encode()
    )
    registry.store.write(
        "claims/living.json",
        json.dumps({"digest": "d", "host": host, "pid": os.getppid()}).encode(),
    )
    assert doomed(registry, older=DAY) == ["dead"]
    # Without a claim, nobody knows; an hour of silence is taken for death.
    assert doomed(registry, older=DAY, later=claims.CLAIM_SECONDS + 60) == ["dead", "silent"]
    plan = sweep.plan(registry.store, keep=0, older_than_s=DAY)
    sweep.sweep(registry.store, plan.doomed, QUICK)
    folders = {info.key.split("/")[1] for info in registry.store.list("bundles/")}
    assert folders == {"v1", "v2", "v3", "v4", "living", "silent"}
    assert [info.key for info in registry.store.list("claims/")] == ["claims/living.json"]


def test_an_unreadable_channel_stops_the_sweep(registry: Registry) -> None:
    registry.store.write(swap.channel_key("prod"), b"{")
    with pytest.raises(ChannelError):
        doomed(registry)


def test_leftovers_of_killed_writers_go(tmp_path: Path) -> None:
    registry = Registry.open(str(tmp_path))
    registry.store.write("k", b"")
    left = tmp_path / ".store" / "uploads" / "left"
    left.write_bytes(b"half")
    sweep.sweep(registry.store, (), QUICK)
    assert left.exists()
    os.utime(left, (time.time() - 2 * claims.CLAIM_SECONDS,) * 2)
    sweep.sweep(registry.store, (), QUICK)
    assert not left.exists()
