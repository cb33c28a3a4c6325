"""A tiny shop: 4 departments of 2 leaves, 72 products with 3 views and one shopper photo each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.contracts.catalog import Item, Query, write_items, write_queries
from components.contracts.files import sha256_file, write_json_lines
from components.contracts.taxonomy import Taxonomy
from components.contracts.verdict import Verdict
from components.human_eval.ask import Material, draw, let_simulated_raters_rate
from components.human_eval.campaign import Campaign, campaign_of, open_campaign
from components.human_eval.conclude import judge_campaign
from components.human_eval.config import GateConfig
from components.human_eval.output import write_findings
from components.human_eval.pairs import Binding, Shop
from components.human_eval.publish import Published, publish, resumable
from components.registry.local_store import LocalStore
from components.registry.registry import Registry

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


class Gate:
    """A channel of a registry in which candidates of the tiny shop are judged.

    Attributes:
        store: The registry's store.
        root: Everything else.
    """

    def __init__(self, tiny: TinyShop, root: Path, policy: Callable[..., GateConfig]) -> None:
        self.tiny, self.root, self.policy = tiny, root, policy
        self.store = LocalStore(root / "registry")
        self.registry = Registry(self.store)
        self.now = datetime.now(UTC) - timedelta(hours=1)
        self.report = root / "report.html"
        self.output = root / "output"

    def binding(self, version: str = "v1", incumbent: str = "") -> Binding:
        return Binding(version, digest(version), incumbent, incumbent and digest(incumbent))

    def material(
        self, version: str = "v1", quality: float = 0.9, incumbent: float | None = None
    ) -> Material:
        folder = self.tiny.evaluation(self.root / f"evaluation-{version}", quality, incumbent)
        return Material(folder, self.tiny.root / "checked")

    def publish(
        self,
        version: str = "v1",
        *,
        quality: float = 0.9,
        incumbent: float | None = None,
        raters: str = "simulated",
        config: GateConfig | None = None,
        now: datetime | None = None,
        supersede: bool = True,
        before: str = "old",
        material: Material | None = None,
        retrained: bool = False,
    ) -> Published:
        config = config or self.policy()
        binding = self.binding(version, before if incumbent is not None else "")
        if found := resumable(self.store, "prod", binding, config):
            return found
        draft = draw(
            self.store, "prod", binding,
            material or self.material(version, quality, incumbent), config,
            folder=self.root / "drafts" / version, raters=raters, now=now or self.now,
            retrained=retrained,
        )  # fmt: skip
        return publish(
            self.store, "prod", draft, now=now or self.now, who="tests", supersede=supersede
        )

    def open(self, campaign: str = "") -> Campaign:
        return open_campaign(self.store, "prod", campaign or campaign_of(self.store, "prod"))

    def __call__(
        self,
        *,
        quality: float = 0.9,
        incumbent: float | None = None,
        raters: str = "simulated",
        version: str = "v1",
        config: GateConfig | None = None,
        now: datetime | None = None,
        material: Material | None = None,
        before: str = "old",
        retrained: bool = False,
    ) -> Verdict:
        """Publishes, lets simulated raters rate, judges and writes the files."""
        now = now or self.now
        material = material or self.material(version, quality, incumbent)
        published = self.publish(
            version, quality=quality, incumbent=incumbent, raters=raters, config=config, now=now,
            material=material, before=before, retrained=retrained,
        )  # fmt: skip
        problems = published.problems
        campaign = self.open(published.campaign)
        if raters == "simulated":
            let_simulated_raters_rate(
                campaign, material, now=now + timedelta(minutes=1), problems=problems
            )
        self.findings = judge_campaign(
            self.open(published.campaign), now=now + timedelta(minutes=2), who="tests",
            problems=problems,
        )  # fmt: skip
        write_findings(self.findings, self.output, self.report)
        return self.findings.verdict


@pytest.fixture
def gate(tiny: TinyShop, policy: Callable[..., GateConfig], tmp_path: Path) -> Gate:
    """Runs the whole gate: `gate(quality=.9)`."""
    return Gate(tiny, tmp_path, policy)


@pytest.fixture(scope="session")
def gate_class() -> type[Gate]:
    """`Gate` itself, for fixtures of a wider scope."""
    return Gate
