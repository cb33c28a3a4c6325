import hashlib
import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.contracts.catalog import Item, Query, write_items, write_queries
from components.contracts.embeddings import to_table
from components.contracts.files import write_json
from components.index.build import build_index
from components.index.config import IndexConfig

DIM = 8
CONFIG = IndexConfig(tuning_queries=40, latency_queries=5, golden_queries=4, golden_images=2)


def unit(rows, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((rows, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def picture(path, shade):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (shade, 80, 120)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


class Inputs:
    def __init__(self, root, items=30, queries=6):
        self.root = root
        self.checked, self.encoder, self.embeddings = (
            root / name for name in ("checked", "encoder", "embeddings")
        )
        for folder in ("checked", "encoder/saved_model", "embeddings/items", "embeddings/queries"):
            (root / folder).mkdir(parents=True)
        (self.checked / "taxonomy.csv").write_text(
            "taxon_id,parent_id,name\nroot,,All\nsofa,root,Sofas\n"
        )
        self.items = [
            Item(f"i{n:02}", "", hashlib.sha256(f"{n}".encode()).hexdigest(), "sofa", f"p{n // 3}")
            for n in range(items)
        ]
        self.queries = [
            Query(
                f"q{n}",
                str(root / f"q{n}.png"),
                picture(root / f"q{n}.png", 20 * n),
                f"p{n}",
                "sofa",
            )
            for n in range(queries)
        ]
        write_items(self.checked / "items.jsonl", self.items)
        write_queries(self.checked / "queries.jsonl", self.queries)
        write_json(self.encoder / "encoder.json", {"digest": "e" * 64, "embedding_dim": DIM})
        (self.encoder / "saved_model/saved_model.pb").write_bytes(b"model")
        self.vectors, self.query_vectors = unit(items), unit(queries, seed=1)
        self.embed(range(items))
        self.summary = {"encoder_digest": "e" * 64, "reused": 3, "computed": items - 3}
        write_json(self.embeddings / "summary.json", self.summary)

    def embed(self, rows):
        # In another order than the catalog's, as a real embed step may write them.
        rows = sorted(rows, key=lambda row: self.items[row].content_hash)
        pq.write_table(
            to_table(
                [self.items[row].item_id for row in rows],
                [self.items[row].content_hash for row in rows],
                self.vectors[rows],
            ),
            self.embeddings / "items/part-0.parquet",
        )
        if self.queries:
            pq.write_table(
                to_table(
                    [query.query_id for query in self.queries],
                    [query.content_hash for query in self.queries],
                    self.query_vectors,
                ),
                self.embeddings / "queries/part-0.parquet",
            )

    def build(self, config=CONFIG, **changes):
        arguments = {
            "checked": self.checked,
            "encoder": self.encoder,
            "embeddings": self.embeddings,
            "mode": "scratch",
            "lineage": {"run": "r1"},
            "parameters": {"train.epochs": 3},
            "config": config,
            "bundle": self.root / "bundle",
            "report": self.root / "report.html",
            **changes,
        }
        return build_index(**arguments)


@pytest.fixture
def make_inputs():
    """Makes what the index step takes: `make_inputs(folder, items=30, queries=6)`."""
    return Inputs


@pytest.fixture
def inputs(tmp_path):
    return Inputs(tmp_path)
