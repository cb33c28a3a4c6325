"""What tests of infra/ share: programs that may be missing, and what the manifests render to."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"


def program(*names: str) -> str:
    """Returns the first of these programs that is there; skips the test where none is.

    CI sets LOOKALIKE_INFRA_TOOLS=required: there a missing program is a failure.
    """
    for name in names:
        if found := shutil.which(name):
            return found
    reason = f"none of these programs is installed: {', '.join(names)} (make infra-tools)"
    if os.environ.get("LOOKALIKE_INFRA_TOOLS") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def render(folder: Path) -> list[dict[str, Any]]:
    """Returns the objects that a kustomization makes."""
    tool = program("kustomize", "kubectl")
    verb = "build" if tool.endswith("kustomize") else "kustomize"
    done = subprocess.run([tool, verb, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@pytest.fixture(scope="session")
def rendered() -> dict[str, list[dict[str, Any]]]:
    """The objects of each kustomization that people apply."""
    return {
        "dev": render(INFRA / "kubernetes" / "overlays" / "dev"),
        "prod": render(INFRA / "kubernetes" / "overlays" / "prod"),
        "training": render(INFRA / "kubernetes" / "training"),
    }
