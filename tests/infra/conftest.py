"""What tests of infra/ share: programs that may be missing, and what the manifests render to."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
DEPARTMENTS = ("seating", "lighting", "leisure", "tableware", "decor", "bathroom")


def program(*names: str) -> str:
    """Returns the first of these programs that is there; skips the test where none is.

    CI sets LOOKALIKE_INFRA_TOOLS=required: there a missing program is a failure. Terraform is in no
    package registry, so it stays a matter of whether the machine has it.
    """
    for name in names:
        if found := shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent)):
            return found
    reason = f"none of these programs is installed: {', '.join(names)} (make infra-tools)"
    required = os.environ.get("LOOKALIKE_INFRA_TOOLS") == "required"
    if required and names != ("terraform",):
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


@pytest.fixture(scope="session")
def shop(dev_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every product of six departments, where containers that are nobody can read it."""
    target = tmp_path_factory.mktemp("shop")
    (target / "images").mkdir()
    with (dev_mini / "taxonomy.csv").open() as file:
        parents = {row["taxon_id"]: row["parent_id"] for row in csv.DictReader(file)}
    shutil.copy(dev_mini / "taxonomy.csv", target)
    kept = {""}
    for name in ("catalog", "queries", "votes"):
        with (dev_mini / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        if name == "votes":
            rows = [row for row in rows if row["image_id"] in kept]
        else:
            rows = [row for row in rows if parents[row["taxon_id"]] in DEPARTMENTS]
            kept |= {row.get("item_id", "") for row in rows}
            for row in rows:
                shutil.copy(dev_mini / row["image"], target / row["image"])
        with (target / f"{name}.csv").open("w") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target
