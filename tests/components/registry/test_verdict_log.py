from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from components.contracts.errors import InputError
from components.contracts.verdict import Verdict
from components.registry import verdict_log
from components.registry.object_store import ObjectStore
from components.registry.registry import Registry

Make = Callable[..., Verdict]


@pytest.fixture
def registry(store: ObjectStore) -> Registry:
    """An empty registry on each kind of store."""
    return Registry(store)


def test_verdicts_come_back_oldest_first(registry: Registry, make_verdict: Make) -> None:
    late = make_verdict("human", "v1", "d", created="2026-11-22T10:00:00+00:00")
    early = make_verdict("offline", "v1", "d", created="2026-11-21T10:00:00+00:00")
    key = registry.write_verdict(late)
    registry.write_verdict(early)
    assert registry.write_verdict(late) == key
    assert registry.verdicts("v1") == [early, late]
    assert registry.verdicts("v2") == []
    assert key.startswith("verdicts/v1/human-")


@pytest.mark.parametrize(
    "change",
    [
        lambda value: "{",
        lambda value: json.dumps(value | {"schema": 2}),
        lambda value: json.dumps(value | {"version": "v2"}),
        lambda value: json.dumps(value | {"gate": "human"}),
        lambda value: json.dumps(value | {"checks": []}),
        lambda value: json.dumps(value | {"checks": 7}),
        lambda value: json.dumps(value | {"surprise": 1}),
    ],
)
def test_an_unreadable_verdict_is_a_fail_that_says_so(
    registry: Registry, make_verdict: Make, change: Callable[[dict[str, object]], str]
) -> None:
    value = make_verdict("offline", "v1", "d").to_json()
    registry.store.write("verdicts/v1/offline-1.json", change(value).encode())
    (stored,) = registry.stored_verdicts("v1")
    assert not stored.readable
    assert stored.verdict.status == "fail"
    assert stored.verdict.gate == "offline"
    assert "verdicts/v1/offline-1.json cannot be read" in stored.verdict.checks[0].reason


@pytest.mark.parametrize("gate", ["", "Human", "a/b", "a-b", "../x"])
def test_refuses_gates_that_are_no_names(registry: Registry, make_verdict: Make, gate: str) -> None:
    with pytest.raises(InputError, match="gate"):
        registry.write_verdict(make_verdict(gate, "v1", "d"))


def test_signatures(
    registry: Registry, make_verdict: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = make_verdict("offline", "v1", "d")
    (tmp_path / "key").write_text("0123456789abcdef0123456789abcdef\n")
    monkeypatch.setenv(verdict_log.KEY_VARIABLE, str(tmp_path / "key"))
    key = registry.write_verdict(verdict)
    assert [stored.signature for stored in registry.stored_verdicts("v1")] == ["valid"]
    monkeypatch.delenv(verdict_log.KEY_VARIABLE)
    assert [stored.signature for stored in registry.stored_verdicts("v1")] == ["unchecked"]
    monkeypatch.setenv(verdict_log.KEY_VARIABLE, str(tmp_path / "key"))

    # A signed pass copied under another version is not signed there.
    moved = key.replace("verdicts/v1/", "verdicts/v2/")
    value = json.dumps(verdict.to_json() | {"version": "v2"}).encode()
    registry.store.write(moved, value)
    registry.store.write(f"{moved}.hmac", registry.store.read(f"{key}.hmac")[0])
    assert [stored.signature for stored in registry.stored_verdicts("v2")] == ["invalid"]

    registry.store.delete(f"{key}.hmac")
    assert [stored.signature for stored in registry.stored_verdicts("v1")] == ["missing"]
    (tmp_path / "key").write_text("short")
    with pytest.raises(InputError, match="at least 16 bytes"):
        registry.write_verdict(verdict)
