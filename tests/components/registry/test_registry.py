from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.contracts.errors import InputError, LookalikeError
from components.registry import swap
from components.registry.backoff import Backoff
from components.registry.channel import ChannelError
from components.registry.object_store import (
    ObjectStore,
    OutcomeUnknownError,
    RateLimitedError,
    open_store,
)
from components.registry.policy import Policy
from components.registry.registry import ConflictError, Registry

Make = Callable[..., Path]
QUICK = Backoff(first_s=0.001, cap_s=0.002, deadline_s=2.0)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, make_bundle: Make) -> Path:
    """A local registry with the bundles v1, v2 and v3, to be copied."""
    root = tmp_path_factory.mktemp("published")
    for version in ("v1", "v2", "v3"):
        Registry.open(str(root / "registry")).publish_bundle(make_bundle(root / "built", version))
    return root / "registry"


@pytest.fixture
def registry(store_uri: str, published: Path) -> Registry:
    """A registry with the bundles v1, v2 and v3."""
    store = open_store(store_uri)
    for path in sorted((published / "bundles").rglob("*")):
        if path.is_file():
            store.write(path.relative_to(published).as_posix(), path.read_bytes())
    return Registry(store, QUICK)


@pytest.fixture
def empty(tmp_path: Path) -> Registry:
    """An empty local registry, for names that are refused before any store is asked."""
    return Registry.open(str(tmp_path / "empty"))


def promote(registry: Registry, version: str, channel: str = "prod") -> None:
    registry.move(channel, to=version, who="alice", why="daily run")


def test_a_channel_that_does_not_exist_has_nothing_live(registry: Registry) -> None:
    state = registry.channel("prod")
    assert (state.live, state.generation, state.history) == ("", 0, ())
    assert registry.channels() == []


def test_a_move_writes_its_history_entry_with_it(registry: Registry) -> None:
    move = registry.move("prod", to="v1", who="alice", why="first", verdicts=["verdicts/v1/x"])
    state = registry.channel("prod")
    assert state.live == "v1"
    assert state.history == (move,)
    assert (move.previous, move.to, move.who, move.why) == ("", "v1", "alice", "first")
    assert (move.number, move.verdicts, move.forced) == (1, ("verdicts/v1/x",), False)
    assert registry.channels() == ["prod"]


def test_the_second_of_two_promotions_is_told_who_won(registry: Registry) -> None:
    promote(registry, "v1")
    registry.move("prod", to="v2", expected_from="v1", who="bob", why="faster")
    with pytest.raises(ConflictError, match=r"expected v1 .* v2 is: bob promoted v2 at .*faster"):
        registry.move("prod", to="v3", expected_from="v1", who="alice", why="slower")
    assert registry.channel("prod").live == "v2"


def test_a_channel_never_names_a_missing_bundle(registry: Registry) -> None:
    with pytest.raises(LookalikeError, match="v9 is not in the registry"):
        promote(registry, "v9")
    assert registry.channel("prod").live == ""


def test_rollback_goes_back_step_by_step_and_quarantines(registry: Registry) -> None:
    for version in ("v1", "v2", "v3"):
        promote(registry, version)
    assert registry.rollback("prod", who="bob", why="bad").to == "v2"
    assert registry.rollback("prod", who="bob", why="bad too").to == "v1"
    state = registry.channel("prod")
    assert sorted(state.quarantine) == ["v2", "v3"]
    with pytest.raises(LookalikeError, match="nothing was live before v1"):
        registry.rollback("prod", who="bob", why="still bad")
    with pytest.raises(LookalikeError, match="v3 is quarantined by bob"):
        promote(registry, "v3")


def test_rollback_never_goes_forward_to_a_released_version(registry: Registry) -> None:
    for version in ("v1", "v2", "v3"):
        promote(registry, version)
    registry.rollback("prod", who="bob", why="bad")
    registry.release("prod", "v3", who="bob", why="it was the catalog")
    assert registry.rollback("prod", who="bob", why="v2 is bad, too").to == "v1"


def test_rollback_passes_over_quarantined_and_damaged_versions(
    registry: Registry, tmp_path: Path, make_bundle: Make
) -> None:
    registry.publish_bundle(make_bundle(tmp_path / "built", "v4"))
    for version in ("v1", "v2", "v3", "v4"):
        promote(registry, version)
    registry.quarantine("prod", "v3", who="bob", why="wrong prices")
    registry.store.delete("bundles/v2/index/vectors.npy")
    target, passed = registry.rollback_target(registry.channel("prod"))
    assert target == "v1"
    assert "v3 is quarantined by bob" in passed[0]
    assert "v2 is not whole: index/vectors.npy: missing" in passed[1]


def test_rollback_to_a_version_only_where_it_was_live(registry: Registry) -> None:
    for version in ("v1", "v2"):
        promote(registry, version)
    with pytest.raises(LookalikeError, match="v3 was never live here"):
        registry.rollback("prod", who="bob", why="x", to="v3")
    with pytest.raises(LookalikeError, match="v2 is live already"):
        registry.rollback("prod", who="bob", why="x", to="v2")
    assert registry.rollback("prod", who="bob", why="x", to="v1").to == "v1"


def test_rollback_works_on_a_frozen_channel_and_promotion_does_not(registry: Registry) -> None:
    promote(registry, "v1")
    promote(registry, "v2")
    registry.freeze("prod", who="carol", why="sale day")
    with pytest.raises(LookalikeError, match=r"frozen by carol .*sale day"):
        promote(registry, "v3")
    assert registry.rollback("prod", who="bob", why="bad").to == "v1"
    registry.move("prod", to="v3", who="carol", why="must", forced=True)
    registry.unfreeze("prod", who="carol", why="over")
    kinds = [move.kind for move in registry.channel("prod").history]
    assert kinds == ["unfreeze", "promote", "rollback", "freeze", "promote", "promote"]


def test_pointless_notes_are_refused(registry: Registry) -> None:
    promote(registry, "v1")
    for call, message in (
        (lambda: registry.unfreeze("prod", who="a", why="b"), "not frozen"),
        (lambda: registry.release("prod", "v2", who="a", why="b"), "not quarantined"),
        (lambda: registry.quarantine("prod", "v1", who="a", why="b"), "v1 is live"),
        (lambda: registry.quarantine("prod", "v9", who="a", why="b"), "there is no version 'v9'"),
    ):
        with pytest.raises(LookalikeError, match=message):
            call()
    assert registry.channel("prod").moves == 1


def test_older_history_is_sealed_in_a_chain(registry: Registry) -> None:
    for number in range(230):
        promote(registry, f"v{number % 2 + 1}")
    state = registry.channel("prod")
    assert len(state.history) == 50
    assert len(state.held) < 100
    assert state.sealed is not None
    history = list(registry.history("prod"))
    assert [move.number for move in history] == list(range(230, 0, -1))
    for newer, older in itertools.pairwise(history):
        assert newer.previous == older.to
    assert history[-1].previous == ""


def test_a_changed_segment_is_noticed(registry: Registry) -> None:
    for number in range(160):
        promote(registry, f"v{number % 2 + 1}")
    keys = [info.key for info in registry.store.list("history/prod/")]
    assert len(keys) == 2
    data, _ = registry.store.read(keys[0])
    registry.store.write(keys[0], data.replace(b"alice", b"mallo"))
    with pytest.raises(ChannelError, match="was changed after it was sealed"):
        list(registry.history("prod"))
    registry.store.delete(keys[0])
    with pytest.raises(ChannelError, match="missing"):
        list(registry.history("prod"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "expected JSON"),
        (b"[]", "expected schema 1"),
        (b'{"schema": 2}', "a newer lookalike"),
        (b'{"schema": 1}', "edited by hand"),
        (b"\xff\xfe", "expected JSON"),
    ],
)
def test_a_damaged_channel_moves_nothing(registry: Registry, content: bytes, message: str) -> None:
    registry.store.write("channels/prod.json", content)
    for call in (
        lambda: registry.channel("prod"),
        lambda: promote(registry, "v1"),
        lambda: registry.rollback("prod", who="a", why="b"),
    ):
        with pytest.raises(ChannelError, match=message):
            call()
    assert registry.store.read("channels/prod.json")[0] == content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"live": "v3"}, "leads elsewhere"),
        ({"moves": 7}, "expected history entry 7, found 2"),
        ({"channel": "other"}, "it is the channel 'other'"),
        ({"live": "../x"}, "version"),
        ({"sealed": {"segment": 1, "sha256": "0" * 64, "through": 5}}, "sealed through 5"),
    ],
)
def test_a_channel_that_contradicts_itself_is_refused(
    registry: Registry, change: dict[str, object], message: str
) -> None:
    promote(registry, "v1")
    promote(registry, "v2")
    value = json.loads(registry.store.read("channels/prod.json")[0])
    registry.store.write("channels/prod.json", json.dumps(value | change).encode())
    with pytest.raises(ChannelError, match=message):
        registry.channel("prod")


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "a\nb", "-a", "a_b", "x" * 64])
def test_refuses_names_that_are_no_channels(empty: Registry, name: str) -> None:
    for call in (empty.channel, empty.policy, lambda name: promote(empty, "v1", name)):
        with pytest.raises(InputError, match="expected letters, digits and hyphens"):
            call(name)


@pytest.mark.parametrize("version", ["", "..", "a/b", "a b", "a\nb", "v..1", "x" * 101])
def test_refuses_names_that_are_no_versions(empty: Registry, version: str) -> None:
    for call in (empty.manifest, empty.verdicts, lambda name: promote(empty, name)):
        with pytest.raises(InputError, match="version"):
            call(version)


@pytest.mark.parametrize("why", ["", "   ", "two\nlines", "bell\x07", "x" * 2001])
def test_refuses_reasons_that_explain_nothing(empty: Registry, why: str) -> None:
    with pytest.raises(InputError, match="reason"):
        empty.move("prod", to="v1", who="alice", why=why)


class Flaky:
    """A store that loses answers of channel writes: before, or after they took effect."""

    def __init__(self, store: ObjectStore, faults: list[str]) -> None:
        self._store = store
        self.faults = faults

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def write(self, key: str, data: bytes, *, if_generation: int | None = None) -> int:
        fault = self.faults.pop(0) if key.startswith("channels/") and self.faults else ""
        if fault == "429":
            raise RateLimitedError("slow down")
        if fault == "lost before":
            raise OutcomeUnknownError("connection reset")
        generation = self._store.write(key, data, if_generation=if_generation)
        if fault == "lost after":
            raise OutcomeUnknownError("connection reset")
        return generation


@pytest.mark.parametrize(
    "faults", [["lost after"], ["lost before"], ["429", "429"], ["lost before", "lost after"]]
)
def test_a_lost_answer_is_settled_by_the_move_id(registry: Registry, faults: list[str]) -> None:
    promote(registry, "v1")
    flaky = Flaky(registry.store, list(faults))
    move = Registry(flaky, QUICK).move("prod", to="v2", who="alice", why="again")  # type: ignore[arg-type]
    assert flaky.faults == []
    state = registry.channel("prod")
    assert [entry.to for entry in state.history] == ["v2", "v1"]
    assert state.history[0] == move


def test_a_lost_answer_is_settled_after_others_moved_on(registry: Registry) -> None:
    promote(registry, "v1")

    class Overtaken(Flaky):
        def write(self, key: str, data: bytes, *, if_generation: int | None = None) -> int:
            if not key.startswith("channels/") or not self.faults:
                return self._store.write(key, data, if_generation=if_generation)
            self.faults.clear()
            self._store.write(key, data, if_generation=if_generation)
            for number in range(130):
                registry.move("prod", to=f"v{3 - 2 * (number % 2)}", who="bob", why="busy")
            raise OutcomeUnknownError("connection reset")

    overtaken = Overtaken(registry.store, ["once"])
    move = Registry(overtaken, QUICK).move("prod", to="v2", who="alice", why="again")  # type: ignore[arg-type]
    assert move.number == 2
    assert registry.channel("prod").moves == 132


def test_a_store_that_never_answers_says_that_the_outcome_is_unknown(registry: Registry) -> None:
    flaky = Registry(
        Flaky(registry.store, ["lost before"] * 10_000),  # type: ignore[arg-type]
        Backoff(first_s=0.001, cap_s=0.002, deadline_s=0.05),
    )
    promote(registry, "v1")
    with pytest.raises(OutcomeUnknownError, match="look at `lookalike index status`"):
        flaky.move("prod", to="v2", who="alice", why="again")


def test_a_touch_makes_a_move_under_way_decide_anew(registry: Registry) -> None:
    promote(registry, "v1")
    state = registry.channel("prod")
    assert swap.touch(registry.store, "prod", QUICK).generation != state.generation
    assert registry.channel("prod").to_bytes() == state.to_bytes()


def test_policies_are_set_once_and_read_back(registry: Registry) -> None:
    assert registry.policy("demo") == Policy()
    allowing = Policy(allow_simulated=True, writers={"human": ("panel",)})
    assert registry.set_policy("demo", allowing)
    assert registry.set_policy("demo", allowing)
    assert not registry.set_policy("demo", Policy())
    assert registry.policy("demo") == allowing
    assert registry.set_policy("demo", Policy(), replace=True)
    assert registry.policy("demo") == Policy()


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b'{"schema": 1, "alow_simulated": true}', b'{"schema": 1, "max_churn": 3}',
     b'{"schema": 1, "needed_verdicts": []}', b'{"schema": 1, "allow_simulated": "no"}'],
)  # fmt: skip
def test_an_unreadable_policy_is_no_policy_at_all(empty: Registry, content: bytes) -> None:
    empty.store.write("policies/demo.json", content)
    with pytest.raises(LookalikeError, match="takes nothing"):
        empty.policy("demo")


def test_clocks_that_go_back_do_not_reorder_history(
    empty: Registry, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(published, empty.uri)
    years = iter(("2031", "2019", "2025", "2001"))

    class Skewed(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime(int(next(years)), 1, 1, tzinfo=UTC)

    monkeypatch.setattr(swap, "datetime", Skewed)
    for version in ("v1", "v2", "v3"):
        promote(empty, version)
    assert empty.rollback("prod", who="a", why="b").to == "v2"
    history = list(empty.history("prod"))
    assert [move.to for move in history] == ["v2", "v3", "v2", "v1"]
    assert [move.when[:4] for move in history] == ["2001", "2025", "2019", "2031"]


def test_rollback_asks_no_policy_for_ages(
    empty: Registry, tmp_path: Path, make_bundle: Make
) -> None:
    for version, created in (("old", "2001-01-01T00:00:00+00:00"), ("new", "")):
        empty.publish_bundle(make_bundle(tmp_path, version, created=created))
        promote(empty, version)
    assert empty.rollback("prod", who="a", why="b").to == "old"
