"""GitHub Actions and Cloud Build: valid, and every command in them is one that exists."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
import yaml

from infra import images
from pipelines.cli.main import cli
from tests.infra.conftest import INFRA, ROOT, program

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"[\w-]+/[\w./-]+@[0-9a-f]{40}")


def workflow(name):
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())


def scripts_of_github(name):
    return "\n".join(
        step["run"]
        for job in workflow(name)["jobs"].values()
        for step in job["steps"]
        if "run" in step
    )


def cloud_build():
    return yaml.safe_load((INFRA / "cloudbuild.yaml").read_text())


def scripts_of_cloud_build():
    lines = []
    for step in cloud_build()["steps"]:
        if step.get("entrypoint") == "bash" and "-ceu" in step["args"]:
            lines.append(step["args"][-1].replace("$$", "$"))
        else:
            lines.append(shlex.join([step["entrypoint"], *step["args"]]))
    return "\n".join(lines)


RELEASES = {"github": lambda: scripts_of_github("release"), "cloud build": scripts_of_cloud_build}


def commands(script):
    """The commands of a script, with every variable replaced by a word that it could be."""
    text = re.sub(r"\\\n\s*", " ", script)
    text = re.sub(r"\$\{?REGION\}?", "europe-west4", text)
    text = re.sub(r"\$\{?[A-Z_]+(:\d+:\d+)?\}?", "value-of-it", text)
    return [shlex.split(line) for line in text.splitlines() if line.strip()]


def test_actionlint_finds_nothing():
    done = subprocess.run(
        [program("actionlint"), "-no-color", *map(str, WORKFLOWS)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_ask_for_little_and_run_only_what_is_pinned(path):
    document = yaml.safe_load(path.read_text())

    assert document["permissions"] == {"contents": "read"}
    for job in document["jobs"].values():
        assert job["timeout-minutes"] <= 90
        for step in job["steps"]:
            if "uses" in step:
                assert PINNED.fullmatch(step["uses"])
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False
            # What others can write (titles, branches) must not become part of a script.
            assert "${{" not in step.get("run", "")
    assert "secrets." not in path.read_text()


def test_only_a_commit_that_passed_on_main_is_released():
    document = workflow("release")
    trigger = document[True]["workflow_run"]
    job = document["jobs"]["release"]

    assert trigger == {"workflows": [workflow("ci")["name"]], "branches": ["main"],
                       "types": ["completed"]}  # fmt: skip
    assert "workflow_run.conclusion == 'success'" in job["if"]
    assert "workflow_run.event == 'push'" in job["if"]
    (checkout,) = [s for s in job["steps"] if s.get("uses", "").startswith("actions/checkout")]
    assert checkout["with"]["ref"] == "${{ github.event.workflow_run.head_sha }}"
    assert job["env"]["REVISION"] == checkout["with"]["ref"]
    assert document["concurrency"]["cancel-in-progress"] is False


@pytest.mark.parametrize("place", RELEASES)
def test_every_command_of_a_release_exists_and_they_come_in_order(place):
    seen = []
    for words in commands(RELEASES[place]()):
        name = words[0].rpartition("/")[2]
        if name == "lookalike":
            group = cli.make_context("lookalike", words[1:])
            command_name, command, rest = cli.resolve_command(group, list(words[1:]))
            command.make_context(command_name, list(rest), parent=group)
            version = rest[rest.index("--version-name") + 1] if "--version-name" in rest else ""
            assert bool(version) == (command_name == "upload")
            seen.append((command_name, "--check" in rest))
        elif words[0] == "python":
            assert words[1] == "infra/images.py"
            given = images._parser().parse_args(words[2:])
            assert given.push
            assert given.registry
            digests = given.digests
            seen.append(("images", False))
        for flag in ("--pin-digests",):
            if flag in words:
                assert words[words.index(flag) + 1] == str(digests)

    assert seen == [
        ("compile", True),
        ("images", False),
        ("compile", False),
        ("compile", False),
        ("upload", False),
        ("upload", False),
    ]


def test_both_places_release_the_same():
    def told(script):
        return [
            [word for word in words if word != "value-of-it"]
            for words in commands(script)
            if words[0].endswith("lookalike")
        ]

    assert told(scripts_of_github("release")) == told(scripts_of_cloud_build())


def test_cloud_build_uses_what_it_declares_and_waits_for_what_there_is():
    document = cloud_build()
    text = (INFRA / "cloudbuild.yaml").read_text()
    declared = set(document["substitutions"])
    body = text.replace(text[text.index("substitutions:") : text.index("artifacts:")], "")
    used = set(re.findall(r"(?<!\$)\$\{?(_[A-Z_]+)\}?", body))

    assert used == declared
    before = set()
    for step in document["steps"]:
        assert set(step.get("waitFor", [])) <= before
        before.add(step["id"])
    assert document["options"]["logging"] == "CLOUD_LOGGING_ONLY"


def test_targets_of_make_that_ci_runs_exist():
    makefile = (ROOT / "Makefile").read_text()

    for name in ("ci", "release"):
        for target in re.findall(r"\bmake ([\w-]+)", scripts_of_github(name)):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
