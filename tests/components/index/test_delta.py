"""Deltas: what changes, what stays, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.contracts.bundle import read_manifest, sha256_file, verify
from components.contracts.catalog import Item, read_items, write_items
from components.contracts.delta import read_lineage
from components.contracts.embeddings import to_table
from components.contracts.errors import InputError
from components.contracts.files import read_json, write_json
from components.index.build import build_index
from components.index.config import IndexConfig
from components.index.delta import DeltaConfig, RebuildDueError, build_delta
from components.search.neighbours import NeighbourTable
from components.search.query import Limits
from components.search.retrieval import BundleIndex

DIM = 8
CONFIG = DeltaConfig(max_changed_share=0.2, queries=20, latency_queries=2)
TAXONOMY = "taxon_id,parent_id,name\nroot,,All\nseat,root,Seats\nsofa,seat,Sofas\n"


def item(number, content="", product=""):
    name = f"i{number:03}"
    return Item(name, f"{name}.png", (content or name).ljust(64, "0"), "sofa", product or name)


def vectors(count, seed=0):
    drawn = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def write_vectors(directory, items, values):
    directory.mkdir(parents=True, exist_ok=True)
    table = to_table([i.item_id for i in items], [i.content_hash for i in items], values)
    pq.write_table(table, directory / "part-0.parquet")
    return directory


class Shelf:
    """A whole build of 60 items, and deltas of it."""

    def __init__(self, root, backend, **config):
        self.root, self.count = root, 0
        self.items, self.vectors = [item(n) for n in range(60)], vectors(60)
        checked, encoder = root / "checked", root / "encoder"
        checked.mkdir()
        encoder.mkdir()
        (checked / "taxonomy.csv").write_text(TAXONOMY)
        write_items(checked / "items.jsonl", self.items)
        write_json(encoder / "encoder.json", {"digest": "e", "embedding_dim": DIM})
        embeddings = root / "embeddings"
        write_vectors(embeddings / "items", self.items, self.vectors)
        write_json(embeddings / "summary.json", {"encoder_digest": "e"})
        self.base = root / "base"
        build_index(
            checked=checked,
            encoder=encoder,
            embeddings=embeddings,
            mode="scratch",
            lineage={"run": "nightly"},
            parameters={},
            config=IndexConfig(backend=backend, tuning_queries=20, latency_queries=2, **config),
            bundle=self.base,
            report=root / "index.html",
        )

    def delta(self, upserts=(), deletes=(), *, base=None, origin=None, values=None, **changes):
        self.count += 1
        values = vectors(len(upserts), seed=50 + self.count) if values is None else values
        directory = self.root / f"upserts-{self.count}"
        arguments = {
            "base": base or self.base,
            "origin": origin or self.base,
            "upserts": upserts,
            "embeddings": write_vectors(directory, upserts, values) if upserts else None,
            "deletes": deletes,
            "lineage": {"run": "delta"},
            "config": CONFIG,
            "bundle": self.root / f"delta-{self.count}",
        }
        build_delta(**(arguments | changes))
        return self.root / f"delta-{self.count}"


@pytest.fixture(params=["brute_force", "ah", "shards"])
def shelf(tmp_path, request):
    if request.param == "shards":
        return Shelf(tmp_path, "ah", shard_items=32)
    return Shelf(tmp_path, request.param)


@pytest.fixture
def plain(tmp_path):
    return Shelf(tmp_path, "brute_force")


def test_items_are_added_replaced_and_taken_out(shelf):
    new, replaced = item(100), item(7, content="other picture")
    values = vectors(2, seed=9)
    bundle = shelf.delta([new, replaced], ["i003", "i059"], values=values)
    index = BundleIndex.load(bundle)
    assert len(index.items) == 60 + 1 - 2
    assert "i003" not in index
    assert "i059" not in index
    assert index.item("i007").content_hash == replaced.content_hash
    for one, vector in zip((new, replaced), values):
        assert np.allclose(index.vector(one.item_id)[0], vector)
        [hits] = index.answer(vector[None], 1)
        assert hits.item_ids == [one.item_id]
    # What was left alone is where it was found before.
    for number in (0, 20, 58):
        [hits] = index.answer(shelf.vectors[number][None], 3)
        assert hits.item_ids[0] == f"i{number:03}"
    everything = index.answer(vectors(1, seed=3), 100)[0]
    assert sorted(everything.item_ids) == sorted(i.item_id for i in index.items)


def test_the_table_of_neighbours_is_made_anew_or_left_out(shelf):
    bundle = shelf.delta([item(100)], ["i003"], values=shelf.vectors[5:6])
    index = BundleIndex.load(bundle)
    table = NeighbourTable.load(bundle, len(index.items))
    assert read_manifest(bundle).index["neighbour_table"] is (table is not None)
    if table is None:
        assert hasattr(index.searcher, "sizes")
        return
    for own, one in enumerate(index.items):
        limits = Limits(10, own=own, product=int(index.products[own]))
        vector = index.vectors[own : own + 1]
        (hits,) = index.answer(vector, 10, exclude_products=[{one.product_id}])
        row = table.answer(limits)
        assert [index.items[position].item_id for position in row.positions] == hits.item_ids
    # The new item is a picture like i005's: that one's row knows of it.
    own = index.position("i005")
    row = table.answer(Limits(10, own=own, product=int(index.products[own])))
    assert index.items[row.positions[0]].item_id == "i100"
    small = shelf.delta([], ["i009"], config=replace(CONFIG, neighbour_items=10))
    assert NeighbourTable.load(small, 59) is None


def test_a_delta_is_a_version_of_its_own(shelf):
    before = {path: sha256_file(path) for path in shelf.base.rglob("*") if path.is_file()}
    bundle = shelf.delta([item(100)], ["i003"])
    assert verify(bundle) == []
    manifest, base = read_manifest(bundle), read_manifest(shelf.base)
    assert manifest.version != base.version
    assert manifest.mode == "delta"
    assert manifest.items == 60
    assert manifest.encoder_digest == base.encoder_digest
    assert manifest.lineage["run"] == "delta"
    lineage = read_lineage(manifest)
    assert (lineage.origin, lineage.base, lineage.depth) == (base.version, base.version, 1)
    assert lineage.origin_digest == sha256_file(shelf.base / "manifest.json")
    assert (lineage.upserts, lineage.deletes, lineage.changed) == (1, 1, 2)
    assert lineage.changed_share == pytest.approx(2 / 60)
    assert 0.9 <= manifest.index["recall"] <= 1.0
    assert manifest.index["recall_lower"] <= manifest.index["recall"]
    assert read_json(bundle / "index/curve.json")["held_out"]["queries"] == 20
    # The base is as it was.
    assert {p: sha256_file(p) for p in shelf.base.rglob("*") if p.is_file()} == before


def test_an_index_in_shards_stays_in_shards(tmp_path):
    shelf = Shelf(tmp_path, "ah", shard_items=32)
    assert read_manifest(shelf.base).index["shards"] == 2
    # One replaced in each shard, two added at the end, one taken out of the first: the last item
    # moves into its gap.
    new = [item(n, content=f"new {n}") for n in (5, 45, 100, 101)]
    values = vectors(4, seed=9)
    bundle = shelf.delta(new, ["i002"], values=values)
    assert verify(bundle) == []
    manifest = read_manifest(bundle)
    assert manifest.index["shards"] == 2
    index = BundleIndex.load(bundle)
    assert index.searcher.sizes == (30, 31)
    assert index.position("i101") == 2
    for one, vector in zip(new, values):
        [hits] = index.answer(vector[None], 1)
        assert hits.item_ids == [one.item_id]
    asked = vectors(40, seed=70)
    exact = index.exact().answer(asked, 5)
    assert [one.item_ids for one in index.answer(asked, 5)] == [one.item_ids for one in exact]
    # And once more, a delta of the delta, of which whole shards may be gone.
    gone = [one.item_id for one in index.items[28:]]
    wide = DeltaConfig(max_changed_share=1.0, queries=20, latency_queries=2)
    less = shelf.delta((), gone, base=bundle, config=wide)
    assert read_manifest(less).index["shards"] == 1
    assert len(BundleIndex.load(less).items) == 28


def test_golden_queries_are_asked_again(plain):
    old = read_json(plain.base / "golden/answers.json")["queries"]
    gone = old[0]["item_ids"][0]
    bundle = plain.delta(deletes=[gone])
    golden = read_json(bundle / "golden/answers.json")["queries"]
    assert gone not in golden[0]["item_ids"]
    index = BundleIndex.load(bundle)
    [hits] = index.answer(np.load(bundle / "golden/queries.npy")[:1], 10)
    assert golden[0]["item_ids"] == hits.item_ids
    assert golden[0]["scores"] == pytest.approx(hits.scores)


def test_deltas_add_up_from_the_origin(plain):
    first = plain.delta([item(100)], ["i003"])
    # i100 comes and goes again, i003 comes back as it was: two steps, no change.
    again = plain.delta([item(3)], ["i100"], base=first, values=plain.vectors[3:4])
    lineage = read_lineage(read_manifest(again))
    assert (lineage.depth, lineage.changed, lineage.base) == (
        2, 0, read_manifest(first).version,
    )  # fmt: skip
    assert sorted(i.item_id for i in read_items(again / "items.jsonl")) == [
        i.item_id for i in plain.items
    ]


def test_past_the_limit_a_rebuild_is_asked_for(plain):
    deletes = [f"i{n:03}" for n in range(12)]
    first = plain.delta(deletes=deletes)
    assert read_lineage(read_manifest(first)).changed_share == pytest.approx(0.2)
    with pytest.raises(RebuildDueError, match=r"13 items \(21.7% of the 60 .* run the whole"):
        plain.delta(deletes=["i020"], base=first)
    assert not (plain.root / "delta-2").exists()


@pytest.mark.parametrize(
    ("upserts", "deletes", "message"),
    [
        ([], [], "expected items to upsert or to delete, received none"),
        ([], ["i900", "i001"], "these are not: i900"),
        ([], ["i001", "i001"], "received more often: i001"),
        ([item(1)], ["i001"], "received more often: i001"),
    ],
)
def test_requests_that_make_no_sense_are_refused(plain, upserts, deletes, message):
    with pytest.raises(InputError, match=message):
        plain.delta(upserts, deletes)
    assert not (plain.root / "delta-1").exists()


def test_vectors_must_be_of_these_items_and_of_this_encoder(plain):
    bad = vectors(1)
    bad[0, 0] = np.nan
    with pytest.raises(InputError, match="finite vectors of norm 1"):
        plain.delta([item(100)], values=bad)
    with pytest.raises(InputError, match="expected vectors of 8 dimensions"):
        plain.delta([item(100)], values=np.eye(1, 5, dtype=np.float32))
    other = write_vectors(plain.root / "other", [item(100, content="old")], vectors(1))
    with pytest.raises(InputError, match="found none for i100"):
        plain.delta([item(100)], embeddings=other)
    with pytest.raises(InputError, match="expected the vectors of the items"):
        plain.delta([item(100)], embeddings=None)
    assert not list(plain.root.glob("delta-*"))


def test_the_origin_must_be_the_one_it_came_from(plain):
    first = plain.delta([item(100)])
    with pytest.raises(InputError, match="expected the last whole build"):
        plain.delta([item(101)], base=first, origin=first)


def test_an_index_is_never_emptied(plain):
    with pytest.raises(InputError, match="at least one vector to stay"):
        plain.delta(deletes=[i.item_id for i in plain.items], config=DeltaConfig(1.0))


@pytest.mark.parametrize(
    "settings", [{"max_changed_share": 0}, {"max_changed_share": 1.1}, {"queries": 0}]
)
def test_config_is_checked(settings):
    with pytest.raises(InputError, match=r"delta\."):
        DeltaConfig(**settings)
