"""`lookalike benchmark` over a small bundle; the measuring itself is tested in components/index."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from components.contracts.bundle import Manifest, list_files, write_manifest
from components.contracts.files import write_json
from components.search import searcher as search
from components.search.searcher import IndexParameters
from pipelines.cli.benchmark_command import benchmark


def unit(rows, dim=16, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    vectors = unit(300)
    search.save(search.build(vectors, IndexParameters(backend="ah", reorder=60)), vectors, folder)
    (folder / "golden").mkdir()
    np.save(folder / "golden/queries.npy", unit(5, seed=1))
    write_json(folder / "golden/answers.json", {"queries": [{"kind": "shopper"}] * 5})
    write_manifest(
        folder,
        Manifest(
            version="v1",
            created="2026-11-22T00:00:00+00:00",
            mode="scratch",
            items=300,
            embedding_dim=16,
            encoder_digest="e" * 64,
            taxonomy_digest="t" * 64,
            index={"backend": "ah"},
            lineage={},
            parameters={},
            metrics={},
            files=list_files(folder),
        ),
    )
    return folder


def ask(*arguments):
    # A click command in the test's own process: what it starts are processes all the same.
    return CliRunner().invoke(benchmark, [str(one) for one in arguments], catch_exceptions=False)


def test_the_bundle_is_measured_beside_exact_search(bundle, tmp_path):
    page = tmp_path / "out/page.html"
    result = ask("--bundle", bundle, "--no-peers", "--queries", 50, "--html", page)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Bundle v1: 300 items x 16 dimensions, ah; 50 queries.")
    assert [line.split()[0] for line in lines if line][1:4] == ["system", "lookalike", "exact"]
    assert "As it is served: recall@10" in result.stdout
    assert "(leaves 0, reorder 60)" in result.stdout
    assert "<svg" in page.read_text()


def test_measurements_as_json(bundle, tmp_path):
    page = tmp_path / "page.html"
    result = ask("--bundle", bundle, "--no-peers", "--queries", 20, "--html", page, "--json")
    ours, exact = json.loads(result.stdout)
    assert ours["settings"][0]["setting"] == "leaves 0, reorder 60"
    assert exact["settings"][0]["recall"] == 1.0


def test_a_damaged_bundle_is_refused_by_the_files_name(bundle, tmp_path):
    path = bundle / "index/vectors.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    command = [sys.executable, "-m", "pipelines.cli.main", "benchmark", "--bundle", str(bundle)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "index/vectors.npy: expected SHA-256" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "benchmark.html").exists()
