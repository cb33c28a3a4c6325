"""A tiny shop: 4 departments of 2 leaves, 72 products with 3 views and one shopper photo each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.contracts.catalog import Item, Query, write_items, write_queries
from components.contracts.files import sha256_file, write_json_lines
from components.contracts.taxonomy import Taxonomy
from components.contracts.verdict import Verdict
from components.human_eval.config import GateConfig
from components.human_eval.judge import judge_candidate
from components.human_eval.pairs import Binding, Shop

DEPARTMENTS, LEAVES, PRODUCTS, VIEWS = 4, 2, 9, 3


def digest(text: str) -> str:
    """Returns what stands for a manifest's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class TinyShop:
    """The shop with its files.

    Attributes:
        root: Where everything lies.
        items: The catalog.
        queries: The shopper photos.
        taxonomy: The tree.
    """

    root: Path
    items: list[Item]
    queries: list[Query]
    taxonomy: Taxonomy
    by_leaf: dict[str, list[Item]] = field(default_factory=dict)

    @property
    def shop(self) -> Shop:
        return Shop(self.items, self.taxonomy)

    def answers(self, path: Path, quality: float, *, seed: int = 1, kind: str = "shopper") -> Path:
        """Writes results of which about `quality` are of the right leaf."""
        rng = np.random.default_rng(seed)
        lines = []
        for query in self.queries:
            chosen: dict[str, Item] = {}
            while len(chosen) < 5:
                right = rng.random() < quality
                pool = self.by_leaf[query.taxon_id] if right else self.items
                item = pool[rng.integers(len(pool))]
                chosen.setdefault(item.product_id, item)
            lines.append(
                {
                    "query_id": query.query_id, "kind": kind, "image": query.image,
                    "content_hash": query.content_hash, "taxon_id": query.taxon_id,
                    "product_id": query.product_id,
                    "results": [
                        {"item_id": i.item_id, "product_id": i.product_id, "image": i.image,
                         "taxon_id": i.taxon_id, "content_hash": i.content_hash, "score": 1.0}
                        for i in chosen.values()
                    ],
                }
            )  # fmt: skip
        write_json_lines(path, lines)
        return path

    def evaluation(self, path: Path, quality: float, incumbent: float | None = None) -> Path:
        """Writes an evaluation artifact."""
        self.answers(path / "results" / "candidate.jsonl", quality, seed=1)
        if incumbent is not None:
            self.answers(path / "results" / "incumbent.jsonl", incumbent, seed=2)
        return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyShop:
    root = tmp_path_factory.mktemp("shop")
    (root / "images").mkdir()
    rng = np.random.default_rng(7)
    rows = ["taxon_id,parent_id,name", "root,,Everything"]
    items: list[Item] = []
    queries: list[Query] = []

    def picture(name: str) -> tuple[str, str]:
        path = root / "images" / f"{name}.png"
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
        return str(path), sha256_file(path)

    for d in range(DEPARTMENTS):
        rows.append(f"d{d},root,Department {d}")
        for leaf in range(LEAVES):
            taxon = f"d{d}l{leaf}"
            rows.append(f"{taxon},d{d},Leaf {leaf} of {d}")
            for p in range(PRODUCTS):
                product = f"{taxon}p{p}"
                for view in range(VIEWS):
                    image, content = picture(f"{product}v{view}")
                    items.append(Item(f"{product}v{view}", image, content, taxon, product))
                image, content = picture(f"q{product}")
                queries.append(Query(f"q{product}", image, content, product, taxon))
    taxonomy = Taxonomy.parse("\n".join(rows).encode())
    checked = root / "checked"
    write_items(checked / "items.jsonl", items)
    write_queries(checked / "queries.jsonl", queries)
    taxonomy.write(checked / "taxonomy.csv")
    by_leaf: dict[str, list[Item]] = {}
    for item in items:
        by_leaf.setdefault(item.taxon_id, []).append(item)
    return TinyShop(root, items, queries, taxonomy, by_leaf)


@pytest.fixture
def policy() -> Callable[..., GateConfig]:
    """The demo's policy, small enough for the tiny shop."""

    def make(**overrides: Any) -> GateConfig:
        settings = {
            "tau": 0.5, "floor": 0.3, "first_look_pairs": 100, "guarded_products": 10,
            "cap_non_inferiority": 300, "cap_high_churn": 300, "margin": 0.2,
        }  # fmt: skip
        return GateConfig.demo(**{**settings, **overrides})

    return make


@pytest.fixture
def binding() -> Binding:
    return Binding("v1", digest("v1"), "", "")


@pytest.fixture
def gate(
    tiny: TinyShop, policy: Callable[..., GateConfig], tmp_path: Path
) -> Callable[..., Verdict]:
    """Runs the whole gate: `gate(quality=.9)`; files are in `tmp_path`."""

    def run(
        *,
        quality: float = 0.9,
        incumbent: float | None = None,
        raters: str = "simulated",
        version: str = "v1",
        config: GateConfig | None = None,
        **changes: Any,
    ) -> Verdict:
        arguments: dict[str, Any] = {
            "evaluation": tiny.evaluation(tmp_path / f"evaluation-{version}", quality, incumbent),
            "checked": tiny.root / "checked",
            "version": version,
            "manifest_digest": digest(version),
            "incumbent": "old" if incumbent is not None else "",
            "incumbent_digest": digest("old") if incumbent is not None else "",
            "raters": raters,
            "campaign": tmp_path / "campaigns",
            "config": config or policy(),
            "output": tmp_path / "output",
            "report": tmp_path / "report.html",
        }
        return judge_candidate(**{**arguments, **changes})

    return run
