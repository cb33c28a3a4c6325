import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest

from components.contracts.bundle import read_manifest, verify
from components.contracts.catalog import read_items, write_items
from components.contracts.errors import InputError
from components.contracts.files import read_json, write_json
from components.index import build as build_module
from components.index.config import IndexConfig
from components.search.retrieval import BundleIndex

DIM = 8
CONFIG = IndexConfig(tuning_queries=40, latency_queries=5, golden_queries=4, golden_images=2)


def test_the_bundle_is_whole_and_says_where_it_came_from(inputs):
    manifest = inputs.build()
    bundle = inputs.root / "bundle"
    assert verify(bundle) == []
    assert read_manifest(bundle) == manifest
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{8}", manifest.version)
    assert (manifest.items, manifest.embedding_dim, manifest.mode) == (30, DIM, "scratch")
    assert manifest.encoder_digest == "e" * 64
    assert (
        manifest.taxonomy_digest
        == hashlib.sha256((inputs.checked / "taxonomy.csv").read_bytes()).hexdigest()
    )
    assert manifest.lineage["run"] == "r1"
    assert manifest.lineage["embeddings_reused"] == 3
    assert manifest.parameters == {"train.epochs": 3}
    assert manifest.index["backend"] == "brute_force"
    assert manifest.metrics["recall_at_10"] == 1.0
    expected = {
        "taxonomy.csv",
        "items.jsonl",
        "encoder/encoder.json",
        "encoder/saved_model/saved_model.pb",
        "index/config.json",
        "index/item_ids.npy",
        "index/vectors.npy",
        "index/neighbours.npy",
        "index/curve.json",
        "golden/queries.npy",
        "golden/answers.json",
        "golden/images/000.png",
        "golden/images/001.png",
    }
    assert set(manifest.files) == expected
    assert manifest.index["neighbour_table"] is True
    assert "recall" in (inputs.root / "report.html").read_text()


def test_items_stay_in_catalog_order_with_their_own_vectors(inputs):
    inputs.build()
    index = BundleIndex.load(inputs.root / "bundle")
    assert [item.item_id for item in index.items] == [item.item_id for item in inputs.items]
    np.testing.assert_array_equal(index.vectors, inputs.vectors)
    assert index.answer(inputs.vectors[7:8], 1)[0].item_ids == ["i07"]


def test_a_catalog_past_the_limit_gets_no_table_of_neighbours(inputs):
    manifest = inputs.build(replace(CONFIG, neighbour_items=29))
    assert manifest.index["neighbour_table"] is False
    assert "index/neighbours.npy" not in manifest.files


def test_golden_queries_are_answered_the_same_after_loading(inputs):
    inputs.build()
    bundle = inputs.root / "bundle"
    golden = read_json(bundle / "golden/answers.json")
    vectors = np.load(bundle / "golden/queries.npy", allow_pickle=False)
    assert (golden["k"], len(golden["queries"]), vectors.shape) == (10, 4, (4, DIM))
    answers = BundleIndex.load(bundle).answer(vectors, 10)
    for record, hits in zip(golden["queries"], answers):
        assert record["item_ids"] == hits.item_ids
        assert len(set(record["product_ids"])) == 10
        number = int(record["query_id"][1:])
        assert record["kind"] == "shopper"
        if record["image"]:
            kept = (bundle / record["image"]).read_bytes()
            assert kept == (inputs.root / f"q{number}.png").read_bytes()
    assert sum(bool(record["image"]) for record in golden["queries"]) == 2


def test_items_without_embedding_are_left_out_and_counted(inputs):
    inputs.embed([row for row in range(30) if row not in (4, 9)])
    manifest = inputs.build()
    assert manifest.items == 28
    assert manifest.lineage["items_without_embedding"] == 2
    assert manifest.lineage["first_items_without_embedding"] == ["i04", "i09"]
    kept = read_items(inputs.root / "bundle/items.jsonl")
    assert not {"i04", "i09"} & {item.item_id for item in kept}


def test_a_catalog_without_photos_has_golden_catalog_images(make_inputs, tmp_path):
    inputs = make_inputs(tmp_path, queries=0)
    (inputs.checked / "queries.jsonl").unlink()
    inputs.build()
    golden = read_json(tmp_path / "bundle/golden/answers.json")["queries"]
    assert {record["kind"] for record in golden} == {"item"}
    assert all(record["item_ids"][0] == record["query_id"] for record in golden)


@pytest.mark.parametrize("backend", ["ah", "tree_ah"])
def test_scann_backends_lie_in_the_bundle(make_inputs, tmp_path, backend):
    inputs = make_inputs(tmp_path, items=200)
    config = IndexConfig(
        backend=backend, tuning_queries=40, latency_queries=3, golden_queries=3, golden_images=0
    )
    manifest = inputs.build(config)
    assert manifest.index["backend"] == backend
    assert "index/scann/scann_assets.pbtxt" in manifest.files
    assert verify(tmp_path / "bundle") == []
    curve = read_json(tmp_path / "bundle/index/curve.json")
    assert curve["points"][curve["chosen"]]["parameters"]["reorder"] == manifest.index["reorder"]
    assert len(curve["points"]) >= 3


def test_one_item_is_a_catalog(make_inputs, tmp_path):
    inputs = make_inputs(tmp_path, items=1, queries=1)
    assert inputs.build().items == 1


def test_an_interrupted_build_leaves_no_manifest_and_starts_afresh(inputs, monkeypatch):
    inputs.build()
    monkeypatch.setattr(build_module, "write_golden", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        inputs.build()
    assert not (inputs.root / "bundle/manifest.json").exists()
    (inputs.root / "bundle/stray").write_text("left by a killed attempt")
    monkeypatch.undo()
    inputs.build()
    assert verify(inputs.root / "bundle") == []


def test_mixed_encoders_are_refused(inputs):
    write_json(inputs.embeddings / "summary.json", {**inputs.summary, "encoder_digest": "f" * 64})
    with pytest.raises(InputError, match="vectors of two encoders cannot be compared"):
        inputs.build()
    write_json(inputs.embeddings / "summary.json", inputs.summary)
    write_json(inputs.encoder / "encoder.json", {"digest": "e" * 64, "embedding_dim": 9})
    with pytest.raises(InputError, match="expected 9 dimensions as the encoder says, found 8"):
        inputs.build()


def test_embeddings_of_another_catalog_are_refused(inputs):
    changed = [inputs.items[0], *inputs.items[2:]]
    write_items(inputs.checked / "items.jsonl", changed)
    with pytest.raises(InputError, match="'i01' is not in the checked catalog"):
        inputs.build()


def test_no_embedding_at_all_is_refused(inputs):
    inputs.embed([])
    with pytest.raises(InputError, match="none of the 30 items has an embedding"):
        inputs.build()
    assert not (inputs.root / "bundle/manifest.json").exists()


def test_a_nan_is_refused_by_name(inputs):
    inputs.vectors[5, 2] = np.nan
    inputs.embed(range(30))
    with pytest.raises(InputError, match="'i05'"):
        inputs.build()


def test_unknown_modes_are_refused(inputs):
    with pytest.raises(InputError, match="expected scratch, warm, reuse"):
        inputs.build(mode="daily")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "hnsw"}, r"index\.backend.*'hnsw'"),
        ({"recall_target": 0}, r"index\.recall_target"),
        ({"tuning_queries": 1}, r"index\.tuning_queries: expected at least 2"),
    ],
)
def test_config_is_checked(settings, message):
    with pytest.raises(InputError, match=message):
        IndexConfig(**settings)
