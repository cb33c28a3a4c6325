import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.contracts.bundle import read_manifest, verify
from components.contracts.embeddings import to_table
from components.contracts.files import read_json, write_json
from components.evaluate.config import EvaluateConfig
from components.evaluate.delta import evaluate_delta
from components.index.delta import DeltaConfig, build_delta
from components.search.retrieval import BundleIndex

CONFIG = EvaluateConfig(resamples=300, min_department_queries=10)


@pytest.fixture
def grow(world):
    """Makes deltas of a bundle of the world and judges them."""

    def make(base, origin, *, upserts=(), deletes=(), name="delta", limit=1.0):
        directory = world.root / f"upserts-{name}"
        if upserts:
            directory.mkdir()
            ids = [item.item_id for item in upserts]
            hashes = [item.content_hash for item in upserts]
            vectors = world.vectors(upserts, quality=0.9, seed=7)
            pq.write_table(to_table(ids, hashes, vectors), directory / "part-0.parquet")
        bundle = world.root / f"bundle-{name}"
        build_delta(
            base=base,
            origin=origin,
            upserts=upserts,
            embeddings=directory if upserts else None,
            deletes=deletes,
            lineage={},
            config=DeltaConfig(max_changed_share=limit, queries=30, latency_queries=2),
            bundle=bundle,
        )
        return bundle

    def judge(bundle, base, origin, config=CONFIG):
        verdict = evaluate_delta(
            bundle=bundle,
            base=base,
            origin=origin,
            registry=None,
            config=config,
            output=world.root / "evaluation",
            report=world.root / "evaluation.html",
        )
        return verdict, {check.name: check for check in verdict.checks if check.slice != "items"}

    make.judge = judge
    return make


def test_a_delta_gets_a_verdict_of_its_own(world, grow):
    _, base = world.bundle()
    bundle = grow(base, base, deletes=["p00a"])
    assert verify(bundle) == []
    verdict, checks = grow.judge(bundle, base, base)
    assert verdict.status == "pass", verdict.summary()
    assert verdict.version == read_manifest(bundle).version
    assert verdict.incumbent == read_manifest(base).version
    assert checks["delta_size"].observed == pytest.approx(1 / 48)
    changed = checks["changed_results"]
    assert changed.slice == read_manifest(base).version
    assert 0 <= changed.observed <= changed.upper
    assert read_json(world.root / "evaluation/metrics.json")["delta"]["changed_results"] == (
        changed.observed
    )
    # The same encoder, and nothing trained: the incumbent's own limits hold.
    assert {"overlap_at_10", "embedding_drift", "index_recall_at_10", "near_duplicates"} <= {
        check.name for check in verdict.checks
    }


def test_changed_results_by_hand(world, grow):
    _, base = world.bundle()
    # Both views of a product go: whoever was shown it is shown the next best instead.
    bundle = grow(base, base, deletes=["p00a", "p00b"])
    _, checks = grow.judge(bundle, base, base)
    before, after = BundleIndex.load(base), BundleIndex.load(bundle)
    shares = []
    photos = np.load(bundle / "golden/queries.npy")[:3]  # The ones that kept their picture.
    for vector in photos:
        old = before.answer(vector[None], 10)[0].item_ids
        shares.append(0.1 * any(item.startswith("p00") for item in old))
    for item in after.items:
        out = [{item.product_id}]
        old = before.answer(after.vector(item.item_id), 10, exclude_products=out)[0].item_ids
        shares.append(0.1 * any(one.startswith("p00") for one in old))
    assert checks["changed_results"].observed == pytest.approx(np.mean(shares))
    assert np.mean(shares) > 0.01


def test_what_only_looks_the_same_counts_as_changed(world, grow):
    _, base = world.bundle()
    other = dataclasses.replace(world.items[0], content_hash="f" * 64)
    _, same = grow.judge(grow(base, base, deletes=["p23a"], name="one"), base, base)
    _, checks = grow.judge(grow(base, base, upserts=[other], name="two"), base, base)
    assert checks["delta_size"].observed == same["delta_size"].observed == pytest.approx(1 / 48)
    # The item keeps its id, but it shows something that nobody judged.
    assert checks["changed_results"].observed > 0


def test_no_observed_change_is_not_no_change(world, grow):
    _, base = world.bundle()
    title = dataclasses.replace(world.items[0], title="A new name")
    _, checks = grow.judge(grow(base, base, upserts=[title]), base, base)
    changed = checks["changed_results"]
    # 48 items and 3 photos, but the vector is redrawn: ask for the bound alone.
    assert changed.upper >= 1 - 0.025 ** (1 / 51)
    assert checks["delta_size"].observed == 0.0


def test_a_delta_of_a_delta_is_measured_against_the_origin(world, grow):
    _, base = world.bundle()
    first = grow(base, base, deletes=["p00a", "p00b"], name="first")
    second = grow(first, base, deletes=["p01a", "p01b"], name="second")
    verdict, checks = grow.judge(second, first, base)
    assert checks["delta_size"].observed == pytest.approx(4 / 48)
    assert checks["changed_results"].slice == read_manifest(base).version
    assert verdict.incumbent == read_manifest(first).version
    assert checks["delta_origin"].reason.startswith("delta 2 of ")


def test_without_its_origin_a_delta_fails(world, grow):
    _, base = world.bundle()
    bundle = grow(base, base, deletes=["p00a"])
    verdict, checks = grow.judge(bundle, base, None)
    assert verdict.status == "fail"
    assert "is not at hand" in checks["delta_origin"].reason
    assert "changed_results" not in checks
    _, another = world.bundle("another", quality=0.8)
    verdict, checks = grow.judge(bundle, base, another)
    assert checks["delta_origin"].status == "fail"
    assert "expected the whole build" in checks["delta_origin"].reason


def test_the_size_is_counted_and_not_believed(world, grow):
    _, base = world.bundle()
    bundle = grow(base, base, deletes=["p00a", "p00b", "p01a"])
    manifest = read_json(bundle / "manifest.json")
    manifest["lineage"]["delta"] |= {
        "changed": 0, "changed_share": 0.0, "max_changed_share": 0.05,
    }  # fmt: skip
    write_json(bundle / "manifest.json", manifest)
    verdict, checks = grow.judge(bundle, base, base)
    assert checks["delta_size"].status == "fail"
    assert "above the limit of 5.0%" in checks["delta_size"].reason
    assert verdict.status == "fail"
