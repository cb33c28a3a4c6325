import hashlib

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.contracts import embeddings as embedding_files
from components.contracts.catalog import Item, read_items, write_items
from components.contracts.embeddings import to_table
from components.contracts.encoder import read_encoder
from components.contracts.errors import InputError
from components.contracts.files import write_json
from components.index.gather import gather

DIM = 8


def unit(rows, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((rows, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Inputs:
    def __init__(self, root, count=20):
        self.root, self.count = root, count
        self.vectors = unit(count)
        self.items = [
            Item(f"i{n:02}", "", hashlib.sha256(f"{n}".encode()).hexdigest(), "sofa", f"p{n}")
            for n in range(count)
        ]
        for folder in ("checked", "embeddings", "bundle", "encoder"):
            (root / folder).mkdir()
        write_items(root / "checked/items.jsonl", self.items)
        write_json(root / "encoder/encoder.json", {"digest": "e" * 64, "embedding_dim": DIM})

    def embed(self, rows, part=0, ids=None, vectors=None):
        table = to_table(
            ids or [self.items[row].item_id for row in rows],
            [self.items[row].content_hash for row in rows],
            self.vectors[rows] if vectors is None else vectors,
        )
        pq.write_table(table, self.root / f"embeddings/part-{part}.parquet")

    def gather(self):
        card = read_encoder(self.root / "encoder")
        return gather(self.root / "checked", self.root / "embeddings", card, self.root / "bundle")


@pytest.fixture
def inputs(tmp_path):
    return Inputs(tmp_path)


def test_vectors_come_into_the_catalogs_order(inputs, monkeypatch):
    read = embedding_files.read_batches
    # Batches smaller than the files, so that the pieces have to be put together.
    monkeypatch.setattr(embedding_files, "read_batches", lambda one: read(one, rows=3))
    inputs.embed([19, 3, 11, 0, 7, 8, 2], part=0)
    inputs.embed([1, 4, 18, 12], part=1)
    found = inputs.gather()
    kept = sorted([19, 3, 11, 0, 7, 8, 2, 1, 4, 18, 12])
    assert [item.item_id for item in found.items] == [f"i{n:02}" for n in kept]
    np.testing.assert_array_equal(found.vectors, inputs.vectors[kept])
    assert read_items(inputs.root / "bundle/items.jsonl") == [inputs.items[n] for n in kept]
    ids = np.load(inputs.root / "bundle/index/item_ids.npy", allow_pickle=False)
    assert ids.tolist() == [f"i{n:02}" for n in kept]
    assert found.missing == 9
    assert found.first_missing[:3] == ("i05", "i06", "i09")


def test_the_catalogs_figures_travel_with_the_bundle(inputs):
    inputs.embed([1, 2])
    inputs.gather()
    assert not (inputs.root / "bundle/statistics.json").exists()
    (inputs.root / "checked/statistics.json").write_text('{"items": 3}')
    inputs.gather()
    assert (inputs.root / "bundle/statistics.json").read_text() == '{"items": 3}'


def test_an_id_embedded_twice_is_refused(inputs):
    inputs.embed([1, 2], part=0)
    inputs.embed([2, 3], part=1)
    with pytest.raises(InputError, match="ids are unique, received twice: i02"):
        inputs.gather()
    inputs.embed([4, 4], part=1)
    with pytest.raises(InputError, match="received twice: i04"):
        inputs.gather()


def test_an_id_twice_in_the_catalog_is_refused(inputs):
    write_items(inputs.root / "checked/items.jsonl", [*inputs.items, inputs.items[3]])
    inputs.embed([1])
    with pytest.raises(InputError, match=r"items\.jsonl: ids are unique, received twice: i03"):
        inputs.gather()


def test_vectors_of_another_image_or_of_no_item_are_refused(inputs):
    inputs.embed([1, 2], ids=["i01", "i03"])
    with pytest.raises(InputError, match="'i03' is not in the checked catalog with this content"):
        inputs.gather()
    inputs.embed([1, 2], ids=["i01", "stranger"])
    with pytest.raises(InputError, match="'stranger' is not in the checked catalog"):
        inputs.gather()


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "'i02' with norm nan"), (0.0, "'i02' with norm 0"), (2.0, "'i02' with norm")],
)
def test_a_vector_that_cannot_be_indexed_is_refused_by_name(inputs, value, message):
    vectors = inputs.vectors[[1, 2, 3]].copy()
    vectors[1] = value if np.isnan(value) else vectors[1] * value
    inputs.embed([1, 2, 3], vectors=vectors)
    with pytest.raises(InputError, match=message):
        inputs.gather()


def test_parts_of_two_encoders_are_refused(inputs):
    inputs.embed([1, 2], part=0)
    inputs.embed([3], part=1, vectors=np.ones((1, 4), np.float32) / 2)
    with pytest.raises(InputError, match="were two encoders' outputs mixed"):
        inputs.gather()
