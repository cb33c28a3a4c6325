from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.promote.step import run
from components.registry import events, run_log
from components.registry.registry import Registry

Make = Callable[..., Any]


@pytest.fixture
def registry(
    tmp_path: Path, make_bundle: Make, make_verdict: Make, monkeypatch: pytest.MonkeyPatch
) -> Registry:
    """A registry with v1 and v2, both judged, and nothing live."""
    monkeypatch.delenv(events.URL_VARIABLE, raising=False)
    registry = Registry.open(str(tmp_path / "registry"))
    for version, before in (("v1", ""), ("v2", "v1")):
        registry.publish_bundle(make_bundle(tmp_path / "built", version))
        for gate in ("offline", "human"):
            digest = registry.manifest(version)[1]
            registry.write_verdict(make_verdict(gate, version, digest, incumbent=before))
    return registry


def step(registry: Registry, version: str, incumbent: str, out: Path) -> str:
    return run(
        registry.uri, "prod", version, incumbent, "pass", "pass", "run-1",
        str(out / "promotion"), str(out / "summary.md"), str(out / "report.html"),
        reason="pipeline run",
    )  # fmt: skip


def test_writes_the_outcome_and_tells_of_the_move(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step(registry, "v1", "none", tmp_path) == "promoted"
    told = json.loads(capsys.readouterr().out)
    assert (told["event"], told["to"]) == ("lookalike.channel.promote", "v1")
    outcome = json.loads((tmp_path / "promotion" / "outcome.json").read_text())
    assert outcome == {"outcome": "promoted", "reasons": [], "version": "v1", "previous": ""}
    assert "## Promoted: v1 is live on prod" in (tmp_path / "summary.md").read_text()
    assert "Promoted: v1 is live on prod" in (tmp_path / "report.html").read_text()
    assert run_log.read(registry.store, "run-1", "promotion") == outcome


def test_compared_with_nothing_takes_no_live_channel(registry: Registry, tmp_path: Path) -> None:
    registry.move("prod", to="v1", who="bob", why="faster")
    assert step(registry, "v2", "none", tmp_path) == "refused"
    assert registry.channel("prod").live == "v1"
    assert "v2 was compared with nothing, but v1 is live" in (tmp_path / "summary.md").read_text()
    assert step(registry, "v2", "v1", tmp_path) == "promoted"


def test_running_again_changes_nothing(registry: Registry, tmp_path: Path) -> None:
    assert step(registry, "v1", "none", tmp_path) == "promoted"
    assert step(registry, "v1", "none", tmp_path) == "unchanged"
    assert registry.channel("prod").moves == 1
