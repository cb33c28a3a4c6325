"""docs/delta.md: its commands parse as they stand there, its policy is one."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from components.registry.policy import Policy
from pipelines.cli.main import cli

_TEXT = (Path(__file__).parents[2] / "docs" / "delta.md").read_text(encoding="utf-8")
_LINES = [
    line
    for block in re.findall(r"^```\n(.*?)^```", _TEXT, flags=re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line
]
_COMMANDS = [line for line in _LINES if line.startswith("lookalike ")]


@pytest.mark.parametrize("line", _COMMANDS)
def test_the_commands_parse(line: str) -> None:
    name, *arguments = shlex.split(line)[1:]
    command = cli.get_command(
        cli.make_context("lookalike", ["--help"], resilient_parsing=True), name
    )
    assert command is not None
    # Checks names and types of all options; runs nothing.
    assert command.make_context(name, arguments).params["output"]


def test_the_policy_is_one() -> None:
    [line] = [line for line in _LINES if line.startswith("{")]
    policy = Policy.from_json(json.loads(line), source="docs/delta.md")
    assert policy.max_inherited_change == 0.02


def test_every_option_of_both_commands_is_documented() -> None:
    context = cli.make_context("lookalike", ["--help"], resilient_parsing=True)
    for name in ("delta", "export-vertex"):
        command = cli.get_command(context, name)
        assert command is not None
        options = {option for one in command.params for option in one.opts if option[:2] == "--"}
        common = {"--registry", "--channel", "--who", "--json", "--version", "--promote"}
        missing = [option for option in options - common if option not in _TEXT]
        assert missing == []
