"""The export, held against the documented format and against Google's own client."""

from __future__ import annotations

import json

import numpy as np
import pytest

from components.contracts.bundle import Manifest, list_files, write_manifest
from components.contracts.catalog import Item, write_items
from components.contracts.errors import InputError
from components.index import vertex_format
from components.index.vertex_export import export_vertex
from components.search import searcher as search
from components.search.retrieval import ITEM_IDS_FILE
from components.search.searcher import ExactSearcher

TAXONOMY = (
    "taxon_id,parent_id,name\nroot,,All\nseat,root,Seats\nsoft,seat,Soft\nsofa,soft,Sofas\n"
    "lamp,root,Lamps\n"
)
ITEMS = [
    Item("a1", "a1.png", "1" * 64, "sofa", "pa"),
    Item("a2", "a2.png", "2" * 64, "sofa", "pa"),
    Item("b", "b.png", "3" * 64, "lamp", "pb"),
    Item("ünknown", "c.png", "4" * 64, "root", "pc"),
]


def bundle(directory, items=ITEMS, *, encoder="e", version="v1", seed=0):
    directory.mkdir()
    drawn = np.random.default_rng(seed).standard_normal((len(items), 4)).astype(np.float32)
    vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    write_items(directory / "items.jsonl", items)
    (directory / "taxonomy.csv").write_text(TAXONOMY)
    search.save(ExactSearcher(vectors), vectors, directory)
    ids = np.array([item.item_id for item in items])
    np.save(directory / ITEM_IDS_FILE, ids, allow_pickle=False)
    manifest = Manifest(
        version, "2026-11-22T00:00:00+00:00", "scratch", len(items), 4, encoder, "", {}, {}, {},
        {}, list_files(directory),
    )  # fmt: skip
    write_manifest(directory, manifest)
    return directory, vectors


@pytest.mark.parametrize("kind", ["json", "avro"])
def test_every_item_is_written_as_documented(tmp_path, kind):
    source, vectors = bundle(tmp_path / "v1")
    done = export_vertex(source, tmp_path / "out", kind=kind, rows_per_file=3)
    assert (done.vectors, done.deletions, done.files) == (4, 0, 2)
    batch = tmp_path / "out" / "batch"
    names = [f"items-0000{n}-of-00002.{kind}" for n in range(2)]
    assert sorted(path.name for path in batch.iterdir()) == names
    records = [record for name in names for record in vertex_format.read(batch / name)]
    assert [record["id"] for record in records] == ["a1", "a2", "b", "ünknown"]
    found = np.array([record["embedding"] for record in records], np.float32)
    assert np.array_equal(found, vectors)
    assert [record["crowding_tag"] for record in records] == ["pa", "pa", "pb", "pc"]
    restricts = [
        {one["namespace"]: one["allow"] for one in record["restricts"]} for record in records
    ]
    assert restricts[0] == {
        "product": ["pa"], "department": ["seat"], "taxon": ["seat", "soft", "sofa"],
    }  # fmt: skip
    assert restricts[2]["department"] == ["lamp"]
    assert restricts[3] == {"product": ["pc"]}  # Nothing is known of it.


def test_a_json_line_has_the_documented_fields_and_no_other(tmp_path):
    source, _ = bundle(tmp_path / "v1")
    export_vertex(source, tmp_path / "out")
    [path] = (tmp_path / "out" / "batch").iterdir()
    for line in path.read_text(encoding="utf-8").splitlines():
        assert set(json.loads(line)) == {"id", "embedding", "restricts", "crowding_tag"}


def test_avro_has_the_documented_schema(tmp_path):
    fastavro = pytest.importorskip("fastavro")
    source, _ = bundle(tmp_path / "v1")
    export_vertex(source, tmp_path / "out", kind="avro")
    [path] = (tmp_path / "out" / "batch").iterdir()
    with path.open("rb") as file:
        written = json.loads(fastavro.reader(file).metadata["avro.schema"])
    assert written["name"] == "FeatureVector"
    assert [field["name"] for field in written["fields"]] == [
        "id", "embedding", "sparse_embedding", "restricts", "numeric_restricts", "crowding_tag",
    ]  # fmt: skip


def test_the_metadata_is_what_googles_client_would_send(tmp_path):
    google = pytest.importorskip(
        "google.cloud.aiplatform.matching_engine.matching_engine_index_config"
    )
    source, _ = bundle(tmp_path / "v1")
    export_vertex(source, tmp_path / "out")
    metadata = json.loads((tmp_path / "out" / "index_metadata.json").read_text())
    theirs = google.MatchingEngineIndexConfig(
        dimensions=4,
        algorithm_config=google.TreeAhConfig(1000, 7),
        approximate_neighbors_count=150,
        distance_measure_type=google.DistanceMeasureType.DOT_PRODUCT_DISTANCE,
        feature_norm_type=google.FeatureNormType.NONE,
    ).as_dict()
    theirs = json.loads(json.dumps(theirs, default=lambda value: value.value))
    assert metadata["config"] == {name: one for name, one in theirs.items() if one is not None}
    assert metadata["isCompleteOverwrite"] is True


def test_only_what_changed_since_another_version(tmp_path):
    old, _ = bundle(tmp_path / "v1")
    changed = [
        ITEMS[0],
        Item("a2", "a2.png", "9" * 64, "sofa", "pa"),  # Another picture.
        Item("ünknown", "c.png", "4" * 64, "lamp", "pc"),  # Another label.
        Item("new", "n.png", "5" * 64, "lamp", "pn"),
    ]
    new, _ = bundle(tmp_path / "v2", changed, version="v2")
    done = export_vertex(new, tmp_path / "out", since=old)
    assert (done.since, done.vectors, done.deletions, done.why_whole) == ("v1", 3, 1, "")
    batch = tmp_path / "out" / "batch"
    [path] = batch.glob("*.json")
    assert {record["id"] for record in vertex_format.read(path)} == {"a2", "ünknown", "new"}
    assert (batch / "delete" / "removed.txt").read_text() == "b\n"
    metadata = json.loads((tmp_path / "out" / "index_metadata.json").read_text())
    assert metadata["isCompleteOverwrite"] is False


def test_another_encoder_makes_every_vector_another(tmp_path):
    old, _ = bundle(tmp_path / "v1")
    new, _ = bundle(tmp_path / "v2", ITEMS[:3], version="v2", encoder="f")
    done = export_vertex(new, tmp_path / "out", since=old)
    assert (done.vectors, done.deletions) == (3, 1)
    assert "another encoder" in done.why_whole


def test_nothing_half_written_and_nothing_overwritten(tmp_path, monkeypatch):
    source, _ = bundle(tmp_path / "v1")
    with pytest.raises(InputError, match="expected one of json, avro"):
        export_vertex(source, tmp_path / "out", kind="csv")
    monkeypatch.setattr(vertex_format, "MOST_OBJECTS", 2)
    with pytest.raises(InputError, match="write more records a file"):
        export_vertex(source, tmp_path / "out", rows_per_file=1)
    monkeypatch.undo()

    def fails(*_):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(vertex_format, "write", fails)
        with pytest.raises(OSError, match="full"):
            export_vertex(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]
    export_vertex(source, tmp_path / "out")
    with pytest.raises(InputError, match="exists already"):
        export_vertex(source, tmp_path / "out")


GOOD = {"id": "a", "embedding": [1.0, 0.0], "restricts": [], "crowding_tag": "p"}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([GOOD, GOOD], "stands twice"),
        ([{**GOOD, "embedding": [1.0]}], "an embedding of 2 numbers"),
        ([{**GOOD, "embedding": [1, 0]}], "floating-point numbers"),
        ([{**GOOD, "crowding_tag": 7}], "crowding_tag of text"),
        ([{**GOOD, "id": 7}], "an id of text"),
        ([{**GOOD, "title": "x"}], "unknown field 'title'"),
        ([{**GOOD, "restricts": [{"namespace": "d", "allow_list": ["x"]}]}], "restricts"),
        ([{**GOOD, "restricts": [{"namespace": "d", "allow": [3]}]}], "restricts"),
    ],
)
def test_what_the_service_would_misread_is_refused(tmp_path, records, message):
    vertex_format.write(tmp_path / "x.json", records)
    with pytest.raises(InputError, match=message):
        vertex_format.check_batch(tmp_path, dim=2)


def test_the_layout_of_a_batch_is_checked(tmp_path):
    vertex_format.write(tmp_path / "x.json", [GOOD])
    assert vertex_format.check_batch(tmp_path, dim=2) == (1, 0)
    (tmp_path / "delete").mkdir()
    (tmp_path / "delete" / "gone.txt").write_text("a\n")
    with pytest.raises(InputError, match="an id that no data file holds"):
        vertex_format.check_batch(tmp_path, dim=2)
    (tmp_path / "delete" / "gone.txt").write_text("z\n")
    assert vertex_format.check_batch(tmp_path, dim=2) == (1, 1)
    (tmp_path / "more").mkdir()
    with pytest.raises(InputError, match="no folder but delete/"):
        vertex_format.check_batch(tmp_path, dim=2)
    (tmp_path / "more").rmdir()
    (tmp_path / "README.md").write_text("hello")
    with pytest.raises(InputError, match=r"expected \.json or \.avro"):
        vertex_format.check_batch(tmp_path, dim=2)
