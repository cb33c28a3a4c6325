"""What an uploaded version is called: the commit that its file was compiled from."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from components.contracts.errors import InputError

# What CI calls the commit it builds: GitHub Actions, then Cloud Build.
_VARIABLES = ("GITHUB_SHA", "COMMIT_SHA")
_LENGTH = 12
# What a compiled file comes from; a changed README does not change what runs.
_COMPILED_FROM = ("components", "pipelines")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def version_name(given: str) -> str:
    """Returns the version's name.

    Args:
        given: What a person asked for; empty for the commit.

    Raises:
        InputError: The name cannot be one, or there is no commit to name it by.
    """
    if given:
        if not _NAME.fullmatch(given):
            raise InputError(
                f"--version-name {given!r}: expected letters, digits, dots, hyphens and "
                "underscores, at most 128"
            )
        return given
    for variable in _VARIABLES:
        if commit := os.environ.get(variable, ""):
            return commit[:_LENGTH]
    root = Path(__file__).parents[2]
    try:
        commit = _git(root, "rev-parse", "HEAD").strip()
        changed = _git(root, "status", "--porcelain", "--", *_COMPILED_FROM).strip()
    except (OSError, subprocess.CalledProcessError):
        raise InputError(
            "--version-name: expected a name, since this is no git checkout to take the commit of"
        ) from None
    if changed:
        raise InputError(
            f"--version-name: {len(changed.splitlines())} files differ from the commit "
            f"{commit[:_LENGTH]}; commit them, or give the version a name of its own"
        )
    return commit[:_LENGTH]


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
    ).stdout
