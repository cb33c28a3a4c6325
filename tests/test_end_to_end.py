"""The whole way on a small slice: promotion, a served answer, a refusal, a rollback."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from components.contracts.bundle import list_files, read_manifest, write_manifest
from components.registry.registry import Registry
from tests.chromium import CHROMIUM, Browser

pytestmark = [pytest.mark.end_to_end, pytest.mark.multiprocess, pytest.mark.server]

DEPARTMENTS = ("seating", "lighting", "leisure", "tableware", "decor", "bathroom")
SMALL = (
    "train.width=16", "train.input_size=32", "train.batch_size=32", "train.embedding_dim=64",
    "train.learning_rate=0.05", "transform.stored_size=36",
    # The taxonomy is that of all departments.
    "train.empty_leaves=allow",
    "evaluate.min_leaf_hit_at_10=0.1", "evaluate.min_product_recall_at_10=0.05",
)  # fmt: skip


@pytest.fixture(scope="module")
def shop(dev_mini, tmp_path_factory) -> Path:
    """Every product of six departments: about 800 images and 130 photos."""
    target = tmp_path_factory.mktemp("shop")
    (target / "images").mkdir()
    with (dev_mini / "taxonomy.csv").open() as file:
        parents = {row["taxon_id"]: row["parent_id"] for row in csv.DictReader(file)}
    shutil.copy(dev_mini / "taxonomy.csv", target)
    kept = set()
    for name in ("catalog.csv", "queries.csv"):
        with (dev_mini / name).open() as file:
            rows = [r for r in csv.DictReader(file) if parents[r["taxon_id"]] in DEPARTMENTS]
        with (target / name).open("w") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        for row in rows:
            kept.add(row.get("item_id", ""))
            os.link(dev_mini / row["image"], target / row["image"])
    with (dev_mini / "votes.csv").open() as file:
        votes = [row for row in csv.DictReader(file) if row["image_id"] in kept]
    with (target / "votes.csv").open("w") as file:
        writer = csv.DictWriter(file, fieldnames=list(votes[0]))
        writer.writeheader()
        writer.writerows(votes)
    return target


def lookalike(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )


def run(shop: Path, workspace: Path, *assignments: str, mode: str = "auto"):
    settings = [part for text in (*SMALL, *assignments) for part in ("--set", text)]
    done = lookalike(
        *("run", "--catalog", shop / "catalog.csv", "--taxonomy", shop / "taxonomy.csv"),
        *("--votes", shop / "votes.csv", "--queries", shop / "queries.csv"),
        *("--workspace", workspace, "--channel", "demo", "--raters", "simulated"),
        *("--config", "pipelines/demo.yaml", "--mode", mode, "--json", *settings),
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def test_from_catalog_to_promotion_refusal_and_rollback(shop, tmp_path, dev_mini):
    """One test, because each act begins where the last one ended."""
    workspace = tmp_path / "work"
    registry = workspace / "registry"
    easy = ("human_eval.tau=0.05", "human_eval.floor=0.005", "train.epochs=14")

    code, first, text = run(shop, workspace, *easy)

    assert code == 0, text
    assert first["promoted"]
    assert first["mode"] == "scratch"
    assert [verdict["gate"] for verdict in first["verdicts"]] == ["offline", "human"]
    assert first["verdicts"][1]["simulated"]
    assert first["metrics"]["index"]["recall_at_10"] >= 0.98
    assert set(first["metrics"]["shopper"]) >= {
        "leaf_hit_at_10", "leaf_precision_at_10", "product_recall_at_1", "product_recall_at_10",
    }  # fmt: skip
    _pages_are_for_people(workspace, tmp_path / "profile")
    assert "lookalike index rollback" in text

    again_code, again, _ = run(shop, workspace, *easy)

    assert again_code == 0
    assert again["version"] == first["version"]
    assert again["outcome"] == "unchanged"
    cached = {step["name"] for step in again["steps"] if step["cached"]}
    assert cached == {"catalog", "transform", "train", "embed", "index"}

    refused_code, refused, text = run(
        shop, workspace, "human_eval.tau=0.9", "human_eval.floor=0.8", "train.epochs=0",
        mode="scratch",
    )  # fmt: skip

    assert refused_code == 3, text
    assert not refused["promoted"]
    assert refused["live"] == first["version"]
    assert refused["reasons"]
    assert "REFUSED" in text
    assert "Traceback" not in text

    reuse_code, reuse, text = run(shop, workspace, *easy, "catalog.max_changed_share=0.5",
                                  mode="reuse")  # fmt: skip

    assert reuse_code == 0, text
    assert reuse["mode"] == "reuse"
    assert reuse["live"] == reuse["version"] != first["version"]

    asked = lookalike(
        *("ask", "--registry", registry, "--channel", "demo", "--json"),
        *("--image", next((shop / "images").glob("dq*.jpg"))),
    )

    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout)
    assert answer["version"] == reuse["version"]
    assert len(answer["results"]) == 5
    assert len({result["product_id"] for result in answer["results"]}) == 5

    photo = next((shop / "images").glob("dq*.jpg"))
    lines = _readme_block("Serving and on call")
    assert [line.split()[1] for line in lines] == ["serve", "ask", "index", "index"]
    for line in lines:
        words = shlex.split(
            line.replace(".lookalike/demo/registry", str(registry)).replace("photo.jpg", str(photo))
        )
        if words[1] == "serve":
            _serves(words[1:], tmp_path / "ready.json", reuse["version"])
        else:
            done = lookalike(*words[1:])
            assert done.returncode == 0, f"{line}\n{done.stderr}"
    status = lookalike("index", "status", "--registry", registry, "--channel", "demo", "--json")
    assert first["version"] in status.stdout

    verified = lookalike("index", "verify", first["version"], "--golden", "--registry", registry)

    assert verified.returncode == 0, verified.stderr

    other = _with_another_answer(registry / "bundles" / first["version"], tmp_path / "altered")
    Registry.open(str(registry)).publish_bundle(other)
    verified = lookalike("index", "verify", other.name, "--golden", "--registry", registry)

    assert verified.returncode == 1
    assert "golden" in verified.stdout + verified.stderr
    assert "Traceback" not in verified.stderr


def _pages_are_for_people(workspace: Path, profile: Path) -> None:
    """Looks at the run's report and at every step's, on a phone, in a frame and in the dark."""
    pages = {path.parts[-4]: path for path in workspace.glob("steps/*/*/outputs/report.html")}
    assert set(pages) == {
        "catalog", "transform", "train", "embed", "index", "evaluate", "human_eval", "promote",
    }  # fmt: skip
    pages["run"] = workspace / "report.html"
    assert {name for name, path in pages.items() if path.stat().st_size > 2_000_000} == set()
    if CHROMIUM is None:
        return
    browser = Browser(profile)
    try:
        for name, path in pages.items():
            for width, dark in ((390, False), (800, True), (1280, False)):
                browser.size(width, dark=dark)
                browser.open(path.as_uri())
                assert browser.run("document.documentElement.scrollWidth") <= width, (name, width)
                assert browser.complaints() == [], name
    finally:
        browser.close()


def _readme_block(heading: str) -> list[str]:
    """Returns the commands of the first block below a heading of the README."""
    text = (Path(__file__).parents[1] / "README.md").read_text()
    section = text[text.index(f"## {heading}") :]
    return section.split("```sh\n")[1].split("```")[0].strip().splitlines()


def _serves(arguments: list[str], ready: Path, version: str) -> None:
    """Starts the server as the README says, on a free port, until it is ready; then stops it."""
    command = [sys.executable, "-m", "pipelines.cli.main", *arguments]
    server = subprocess.Popen([*command, "--port", "0", "--ready-file", str(ready)])
    try:
        end = time.monotonic() + 120
        while not ready.exists():
            assert server.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        assert json.loads(ready.read_text())["version"] == version
    finally:
        server.terminate()
        assert server.wait(timeout=60) == 0


def _with_another_answer(bundle: Path, folder: Path) -> Path:
    """Returns a whole bundle, its sums right, whose server cannot give the recorded answers."""
    target = folder / "20200101-000000-altered"
    shutil.copytree(bundle, target)
    answers = json.loads((target / "golden" / "answers.json").read_text())
    answers["queries"][0]["item_ids"].reverse()
    (target / "golden" / "answers.json").write_text(json.dumps(answers))
    manifest = replace(read_manifest(target), version=target.name, files=list_files(target))
    write_manifest(target, manifest)
    return target
