"""A small world: two departments of two leaves, products of two views, vectors drawn by hand."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.contracts.catalog import Item, Query, write_items, write_queries
from components.contracts.embeddings import to_table
from components.contracts.files import write_json
from components.evaluate.config import EvaluateConfig
from components.evaluate.evaluate import evaluate_candidate
from components.index.build import build_index
from components.index.config import IndexConfig
from components.registry.registry import Registry

DIM = 16
TAXONOMY = (
    "taxon_id,parent_id,name\nroot,,All\nseating,root,Seating\ntables,root,Tables\n"
    "sofa,seating,Sofas\nstool,seating,Stools\ndesk,tables,Desks\ntray,tables,Trays\n"
)
LEAVES = ("sofa", "stool", "desk", "tray")
PRODUCTS_PER_LEAF = 6


def picture(path: Path, seed: int) -> str:
    colour = tuple(int(value) for value in np.random.default_rng(seed).integers(0, 255, 3))
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@dataclass
class World:
    """A catalog with photos; `bundle` makes a bundle of it by one encoder or another."""

    root: Path

    def __post_init__(self):
        self.checked = self.root / "checked"
        self.checked.mkdir()
        (self.checked / "taxonomy.csv").write_text(TAXONOMY)
        self.items, self.queries = [], []
        for number in range(len(LEAVES) * PRODUCTS_PER_LEAF):
            leaf, product = LEAVES[number % len(LEAVES)], f"p{number:02}"
            for view in "ab":
                path = self.checked / f"{product}{view}.png"
                content = picture(path, 2 * number + (view == "b"))
                self.items.append(Item(f"{product}{view}", str(path), content, leaf, product))
            path = self.checked / f"q-{product}.png"
            content = picture(path, 1000 + number)
            self.queries.append(Query(f"q-{product}", str(path), content, product, leaf))
        self.write()

    def write(self):
        write_items(self.checked / "items.jsonl", self.items)
        write_queries(self.checked / "queries.jsonl", self.queries)

    def vectors(self, records, *, quality, seed):
        """Vectors that point to leaf and product as far as `quality` goes, the rest is noise."""
        rng = np.random.default_rng(99)
        leaf_centre = {leaf: rng.standard_normal(DIM) for leaf in LEAVES}
        product_centre = {
            f"p{n:02}": rng.standard_normal(DIM) for n in range(len(LEAVES) * PRODUCTS_PER_LEAF)
        }
        noise = np.random.default_rng(seed).standard_normal((len(records), DIM))
        signal = [
            leaf_centre[r.taxon_id] + 0.7 * product_centre.get(r.product_id, 0) for r in records
        ]
        return unit(quality * np.array(signal) + (1 - quality) * noise)

    def embed(self, name, *, quality, digest, queries_directory="queries", output=None):
        output = output or self.root / f"embeddings-{name}"
        for folder, records, seed in (
            ("items", self.items, 1),
            (queries_directory, self.queries, 2),
        ):
            if not records or (folder == "items" and queries_directory != "queries"):
                continue
            (output / folder).mkdir(parents=True, exist_ok=True)
            ids = [getattr(record, "item_id", None) or record.query_id for record in records]
            pq.write_table(
                to_table(
                    ids,
                    [record.content_hash for record in records],
                    self.vectors(records, quality=quality, seed=seed),
                ),
                output / folder / "part-0.parquet",
            )
        if queries_directory == "queries":
            write_json(output / "summary.json", {"encoder_digest": digest})
        return output

    def bundle(self, name="good", *, quality=0.9, digest="good-encoder", trained=True):
        """Returns embeddings and bundle of an encoder."""
        encoder = self.root / f"encoder-{name}"
        encoder.mkdir()
        write_json(encoder / "encoder.json", {"digest": digest, "embedding_dim": DIM})
        if trained:
            products = sorted({item.product_id for item in self.items})
            (encoder / "trained_products.txt").write_text("\n".join(products[4:]) + "\n")
        embeddings = self.embed(name, quality=quality, digest=digest)
        bundle = self.root / f"bundle-{name}"
        build_index(
            checked=self.checked,
            encoder=encoder,
            embeddings=embeddings,
            mode="scratch",
            lineage={},
            parameters={},
            config=IndexConfig(
                tuning_queries=20, latency_queries=2, golden_queries=5, golden_images=3
            ),
            bundle=bundle,
            report=self.root / f"index-{name}.html",
        )
        return embeddings, bundle

    def publish(self, bundle):
        registry = str(self.root / "registry")
        Registry.open(registry).publish_bundle(bundle)
        return registry

    def evaluate(self, embeddings, bundle, *, incumbent=None, server=None, **settings):
        return evaluate_candidate(
            bundle=bundle,
            embeddings=embeddings,
            checked=self.checked,
            incumbent_bundle=incumbent,
            incumbent="live-version" if incumbent else "",
            registry=self.publish(bundle) if server else None,
            server=server or "",
            config=EvaluateConfig(**{"resamples": 300, "min_department_queries": 10, **settings}),
            output=self.root / "evaluation",
            report=self.root / "evaluation.html",
        )


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)
