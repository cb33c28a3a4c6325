"""docs/pipeline.md: every command, option, parameter, file and target that it names exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from pipelines.cli.main import cli
from pipelines.compiled import FILES
from pipelines.local.ir import read_pipeline
from pipelines.remote.package import known_names

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "pipeline.md").read_text()


def commands() -> list[list[str]]:
    """Returns every `lookalike ...` of the page, in blocks and within sentences, as words."""
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines.extend(re.findall(r"`(lookalike [^`]+)`", TEXT))
    return [shlex.split(line.strip()) for line in lines if line.strip().startswith("lookalike ")]


def find(words: list[str]) -> tuple[click.Command, list[str]]:
    command: click.Command = cli
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, f"no command {rest[0]!r} in: {' '.join(words)}"
        command, rest = found, rest[1:]
    return command, rest


def test_the_page_has_commands():
    assert len(commands()) > 20


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words)[:60])
def test_every_command_and_option_exists(words):
    command, rest = find(words)
    options = {name for parameter in command.params for name in parameter.opts}

    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, f"{word} in: {' '.join(words)}"


@pytest.mark.parametrize("words", [w for w in commands() if "--set" in w],
                         ids=lambda words: " ".join(words)[:60])  # fmt: skip
def test_every_parameter_exists(words):
    pipeline = words[words.index("--pipeline") + 1] if "--pipeline" in words else "visual-search"
    known = known_names(read_pipeline(FILES[pipeline]).parameters)
    given = [words[i + 1].partition("=")[0] for i, word in enumerate(words) if word == "--set"]

    assert [name for name in given if name not in known] == []


def test_every_environment_variable_is_read_by_an_option_or_the_webhook():
    known = {
        parameter.envvar
        for name in ("upload", "submit", "schedule")
        for parameter in cli.get_command(click.Context(cli), name).params
        if getattr(parameter, "envvar", None)
    }
    known |= {"LOOKALIKE_WEBHOOK_URL", "LOOKALIKE_WEBHOOK_KEY_FILE", "LOOKALIKE_REGISTRY"}

    assert set(re.findall(r"\bLOOKALIKE_[A-Z_]+\b", TEXT)) <= known


def test_every_file_and_target_exists():
    named = re.findall(r"`((?:pipelines|components|infra|tests|\.github)/[A-Za-z0-9_./-]+)`", TEXT)
    makefile = (ROOT / "Makefile").read_text()

    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
    for target in re.findall(r"`make ([a-z-]+)`", TEXT):
        assert f"\n{target}:" in makefile, target


def test_every_output_of_terraform_exists():
    outputs = (ROOT / "infra" / "terraform" / "outputs.tf").read_text()

    for name in re.findall(r"output -(?:raw|json) (\w+)", TEXT):
        assert f'output "{name}"' in outputs, name
    for account in re.findall(r"jq -r \.(\w+)", TEXT):
        assert account in (ROOT / "infra" / "terraform" / "accounts.tf").read_text()


def test_the_titles_are_those_of_the_graph():
    titles = {step.title for path in FILES.values() for step in read_pipeline(path).steps}

    for title in ("What the gates say", "Why it was refused", "What is missing", "Promote",
                  "Gate: measure offline"):  # fmt: skip
        assert title in titles
        assert title in TEXT
