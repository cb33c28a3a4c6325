"""The README's commands exist, and the quick ones are run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from infra import images
from pipelines.cli.main import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "infra" / "README.md", *(ROOT / "docs").glob("*.md")])

# Our program by its name, wherever it is installed; not a registry or a secret of that name.
OURS = re.compile(r"(?:^|^\.venv/bin/)lookalike ")


def commands(page: Path) -> list[str]:
    """Returns the shell lines of a page's code blocks, continuation lines joined."""
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", page.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def said(page: Path) -> list[str]:
    """Returns our program's commands outside of shell blocks: in plain ones and in sentences."""
    text = re.sub(r"```(?:sh|bash|console)\n.*?```", "", page.read_text(), flags=re.DOTALL)
    plain = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(plain).replace("\\\n", " ").splitlines()
    sentences = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines += [" ".join(words.split()) for words in re.findall(r"`(lookalike [^`]+)`", sentences)]
    return [line.strip() for line in lines if OURS.search(line.strip())]


ALL = [(page.name, line) for page in PAGES for line in commands(page)]
SAID = [(page.name, line) for page in PAGES for line in said(page)]


def test_the_readme_opens_with_the_two_commands():
    assert commands(ROOT / "README.md")[:2] == ["make demo", "make test"]


@pytest.mark.parametrize(("page", "line"), [a for a in ALL if a[1].startswith("make ")])
def test_make_targets_exist(page, line):
    target = shlex.split(line, comments=True)[1]

    run = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(("page", "line"), [a for a in [*ALL, *SAID] if OURS.search(a[1])])
def test_commands_and_options_exist(page, line):
    found = OURS.search(line)
    assert found is not None
    words = shlex.split(line[found.end() :], comments=True)
    context: click.Context = click.Context(cli)
    command: click.Command | None = cli
    while isinstance(command, click.Group) and words and words[0] != "...":
        if words[0].startswith("-"):
            break
        name = words.pop(0)
        command = command.get_command(context, name)
        assert command is not None, f"{page}: no command {name!r} in: {line}"
    known = {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    used = {word.split("=")[0] for word in words if word.startswith("--")}
    assert used <= known | {"--help"}, f"{page}: {line}"


@pytest.mark.parametrize(
    ("page", "line"), [a for a in ALL if a[1].startswith("python infra/images.py")]
)
def test_the_options_of_the_images_program_exist(page, line):
    # Raises SystemExit for an option that there is not.
    assert images._parser().parse_args(shlex.split(line, comments=True)[2:]), page


def test_make_alone_prints_the_help():
    run = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)

    for target in ("demo", "demo-refused", "test", "lint"):
        assert f"make {target} " in run.stdout


def test_the_parameters_that_the_readme_sets_exist():
    text = (ROOT / "README.md").read_text()
    names = set(re.findall(r"--set ([a-z_]+\.[a-z_0-9]+)=", text))
    listed = subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", "parameters"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert names
    assert all(f"{name} = " in listed for name in names)
