"""docs/runbook.md: every command in it is run, section by section, on the registry it speaks of."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.registry.registry import Registry
from pipelines.cli.main import main

_TEXT = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")
_PREFIX = "lookalike index "


def sections() -> dict[str, list[str]]:
    """Returns the commands of each section, by its heading."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^## ", _TEXT, flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```\n(.*?)^```", part, flags=re.MULTILINE | re.DOTALL)
        commands = [line for block in blocks for line in block.splitlines() if line.strip()]
        if commands:
            found[part.splitlines()[0]] = commands
    return found


@pytest.fixture
def scene(
    tmp_path: Path,
    make_bundle: Callable[..., Path],
    make_verdict: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Registry:
    """The registry that the runbook speaks of, with a backup and a policy file beside it."""
    monkeypatch.chdir(tmp_path)
    registry = Registry.open(str(tmp_path / "registry"))
    backup = Registry.open(str(tmp_path / "backup"))
    for version in ("20261120-old", "20261121-fine", "20261122-bad", "20261123-new"):
        built = make_bundle(tmp_path / "built", version)
        registry.publish_bundle(built)
        backup.publish_bundle(built)
        digest = registry.manifest(version)[1]
        live = registry.channel("prod").live
        registry.write_verdict(make_verdict("offline", version, digest, incumbent=live))
        status = "undecided" if version.endswith("new") else "pass"
        registry.write_verdict(
            make_verdict("human", version, digest, status=status, incumbent=live)
        )
        if not version.endswith("new"):
            registry.move("prod", to=version, who="pipeline", why="daily run")
    (tmp_path / "policy.json").write_text('{"schema": 1, "max_churn": 0.3}')
    monkeypatch.setenv("LOOKALIKE_REGISTRY", registry.uri)
    monkeypatch.setenv("LOOKALIKE_CHANNEL", "prod")
    return registry


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", shlex.split(command, comments=True))
    try:
        main()
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0


@pytest.mark.parametrize("section", sections())
def test_every_command_of_the_runbook_works(
    scene: Registry, section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def validate(bundle: Path, launch: object, config: object) -> tuple[list[Any], Any]:
        # Starting the real server on a real bundle is the end-to-end test's business.
        asked.append(bundle)
        return [], {}

    monkeypatch.setattr("components.evaluate.server.validate", validate)
    for command in sections()[section]:
        assert command.startswith(_PREFIX), command
        expected = re.search(r"# ends with (\d)$", command)
        code = run(command, monkeypatch)
        assert code == (int(expected.group(1)) if expected else 0), command
    assert bool(asked) == (section == "A bundle is corrupt")


def test_the_runbook_covers_what_it_must() -> None:
    titles = set(sections())
    assert {
        "Results look wrong",
        "Serving is stale",
        "The gate is stuck",
        "A promotion was refused",
        "A bundle is corrupt",
    } <= titles
    # Every command of the program is in it, so that none is there that nobody has tried.
    used = {
        line.removeprefix(_PREFIX).split()[0] for lines in sections().values() for line in lines
    }
    from pipelines.cli.index_commands import _COMMANDS

    assert used == set(_COMMANDS)


def test_the_way_back_ends_where_it_says(scene: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in sections()["Results look wrong"]:
        assert run(command, monkeypatch) == 0
    state = scene.channel("prod")
    assert state.live == "20261120-old"
    assert state.frozen is None
    assert list(state.quarantine) == ["20261121-fine"]
