"""One evaluation: photos and catalog images, asked of the candidate and of the incumbent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts import embeddings as embedding_files
from components.contracts.catalog import (
    ITEMS_FILE,
    QUERIES_FILE,
    TAXONOMY_FILE,
    read_items,
    read_queries,
)
from components.contracts.embeddings import Vectors
from components.contracts.encoder import read_encoder, read_trained_products
from components.contracts.errors import InputError
from components.contracts.near_duplicates import NEAR_DUPLICATES_FILE, NearDuplicates
from components.contracts.taxonomy import Taxonomy
from components.evaluate.config import EvaluateConfig
from components.evaluate.questions import (
    Asked,
    PerQuery,
    Question,
    ask,
    figures,
    item_questions,
    shopper_questions,
)
from components.evaluate.relevance import Relevance
from components.search.retrieval import BundleIndex, recall_of


@dataclass(frozen=True)
class Part:
    """One kind of query with everything that came of it.

    Attributes:
        name: `shopper` or `items`.
        asked: Questions and the candidate's answers.
        values: The candidate's figures, float64 `[questions]` each.
        departments: Each question's department; empty where unknown.
        rows: int64: the questions that the incumbent could be asked too.
        incumbent: Those questions and the incumbent's answers; None without an incumbent.
        incumbent_values: The incumbent's figures, float64 `[rows]` each.
    """

    name: str
    asked: Asked
    values: PerQuery
    departments: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    incumbent: Asked | None
    incumbent_values: PerQuery

    @property
    def paired_values(self) -> PerQuery:
        """The candidate's figures for the questions that the incumbent was asked too."""
        return {name: column[self.rows] for name, column in self.values.items()}

    @property
    def paired_departments(self) -> list[str]:
        """The departments of the questions that the incumbent was asked too."""
        return [self.departments[row] for row in self.rows]

    def overlaps(self) -> npt.NDArray[np.float64]:
        """Returns overlap@10 with the incumbent: the share of its answers that stayed.

        Returns:
            float64 `[rows]` in [0, 1].
        """
        if self.incumbent is None:
            return np.empty(0)
        shares = []
        for row, theirs in zip(self.rows, self.incumbent.hits, strict=True):
            before = set(theirs.item_ids[:10])
            after = set(self.asked.hits[row].item_ids[:10])
            shares.append(len(before & after) / max(1, len(before)))
        return np.array(shares)


@dataclass(frozen=True)
class Study:
    """Everything that was asked.

    Attributes:
        relevance: What counts as right, in today's taxonomy.
        labels: Today's label of each item of the checked catalog.
        products: The products of the checked catalog.
        trained: The products that the candidate's encoder was trained on, and those that share an
            image with one of them.
        index: The candidate's index.
        live: The incumbent's index; None when there is no live bundle.
        same_encoder: Whether candidate and incumbent have one encoder.
        parts: Photos and catalog images, as far as there are any.
        notes: What a reader of the verdict should know, one sentence each.
    """

    relevance: Relevance
    labels: Mapping[str, str]
    products: frozenset[str]
    trained: frozenset[str]
    index: BundleIndex
    live: BundleIndex | None
    same_encoder: bool
    parts: tuple[Part, ...]
    notes: tuple[str, ...]

    @property
    def has_incumbent(self) -> bool:
        """Whether there is a live bundle."""
        return self.live is not None

    def chance(self, part: Part) -> npt.NDArray[np.float64]:
        """Returns each question's leaf precision@10 if products were drawn at random.

        Returns:
            float64 `[questions]`: the share of the other products with a view of that leaf, less
            where there are fewer than 10 of them.
        """
        leaves: dict[str, set[str]] = {}
        for item in self.index.items:
            label = self.labels.get(item.item_id, item.taxon_id)
            leaves.setdefault(item.product_id, set()).add(label)
        counts = Counter(leaf for found in leaves.values() for leaf in found)
        values = np.zeros(len(part.asked))
        for row, question in enumerate(part.asked.questions):
            left_out = question.kind == "item" and question.product_id in leaves
            others = len(leaves) - left_out
            right = counts[question.taxon_id]
            right -= left_out and question.taxon_id in leaves[question.product_id]
            values[row] = right / others * min(1.0, others / 10) if others else 0.0
        return values

    def unseen(self, part: Part) -> npt.NDArray[np.bool_]:
        """Returns bool `[questions]`: which show a known product that was never trained on."""
        return np.array(
            [
                q.product_id in self.products and q.product_id not in self.trained
                for q in part.asked.questions
            ],
            np.bool_,
        )

    def recalls(self) -> npt.NDArray[np.float64]:
        """Returns each query's recall@10 against exact search, one image a product."""
        exact = self.index.exact()
        found = [np.empty(0)]
        for part in self.parts:
            truth = ask(exact, part.asked.questions, part.asked.vectors, k=10)
            first = [hits.first(10) for hits in part.asked.hits]
            found.append(recall_of(self.index, part.asked.vectors, first, truth.hits))
        recalls = np.concatenate(found)
        return np.asarray(recalls[~np.isnan(recalls)])


def conduct(
    *,
    bundle: Path,
    embeddings: Path,
    checked: Path,
    incumbent_bundle: Path | None,
    config: EvaluateConfig,
) -> Study:
    """Asks the candidate, and the incumbent the same.

    Args:
        bundle: The candidate, whole.
        embeddings: The embed step's output.
        checked: The checked catalog.
        incumbent_bundle: The live bundle, None when there is none.
        config: Samples.

    Raises:
        InputError: The incumbent has another encoder and the photos no vectors by it.
    """
    items = read_items(checked / ITEMS_FILE)
    relevance = Relevance(Taxonomy.read(checked / TAXONOMY_FILE))
    labels = {item.item_id: item.taxon_id for item in items}
    products = frozenset(item.product_id for item in items)
    index = BundleIndex.load(bundle)
    live = BundleIndex.load(incumbent_bundle) if incumbent_bundle else None
    notes: list[str] = []
    parts: list[Part] = []

    def answered(
        one: BundleIndex, questions: Sequence[Question], vectors: Mapping[str, Vectors]
    ) -> tuple[Asked, PerQuery]:
        matrix = np.stack([vectors[question.query_id] for question in questions])
        asked = ask(one, questions, matrix, k=config.results_per_query)
        return asked, figures(asked, relevance, labels, products)

    def add(
        name: str,
        questions: Sequence[Question],
        ours: Mapping[str, Vectors],
        theirs: Mapping[str, Vectors],
    ) -> None:
        asked, values = answered(index, questions, ours)
        rows = [row for row, question in enumerate(questions) if question.query_id in theirs]
        incumbent: Asked | None = None
        incumbent_values: PerQuery = {}
        if live and rows:
            incumbent, incumbent_values = answered(live, [questions[row] for row in rows], theirs)
        elif live:
            notes.append(f"{name}: the incumbent knows none of the queries.")
        part = Part(
            name=name,
            asked=asked,
            values=values,
            departments=tuple(relevance.department(q.taxon_id) for q in questions),
            rows=np.array(rows, np.int64),
            incumbent=incumbent,
            incumbent_values=incumbent_values,
        )
        parts.append(part)

    photos, ours, theirs = _photos(bundle, embeddings, checked, incumbent_bundle, notes)
    if photos:
        add("shopper", photos, ours, theirs)
    known = [item for item in items if item.item_id in index]
    sample = item_questions(known, relevance, count=config.item_queries, seed=config.seed)
    if sample:
        add("items", sample, _item_vectors(index, sample), _item_vectors(live, sample))
    else:
        notes.append("No indexed item has a leaf for a label: there are no item-to-item figures.")
    return Study(
        relevance=relevance,
        labels=labels,
        products=products,
        trained=_trained(bundle, checked),
        index=index,
        live=live,
        same_encoder=incumbent_bundle is not None and _same_encoder(bundle, incumbent_bundle),
        parts=tuple(parts),
        notes=tuple(notes),
    )


def _trained(bundle: Path, checked: Path) -> frozenset[str]:
    # Transform splits by the same groups; but in mode reuse it rests, and copies still arrive.
    trained = set(read_trained_products(bundle / "encoder"))
    for group in NearDuplicates.read(checked / NEAR_DUPLICATES_FILE).products:
        if not trained.isdisjoint(group):
            trained.update(group)
    return frozenset(trained)


def _photos(
    bundle: Path,
    embeddings: Path,
    checked: Path,
    incumbent_bundle: Path | None,
    notes: list[str],
) -> tuple[list[Question], Mapping[str, Vectors], Mapping[str, Vectors]]:
    """Returns the photos, and their vectors by the candidate's and the incumbent's encoder."""
    path = checked / QUERIES_FILE
    queries = read_queries(path) if path.exists() else []
    ours = _photo_vectors(embeddings / "queries")
    kept = [query for query in queries if query.query_id in ours]
    if len(kept) < len(queries):
        notes.append(
            f"{len(queries) - len(kept)} of {len(queries)} photos have no vector and are left out."
        )
    if not kept:
        notes.append("There are no shopper photos: quality is measured on catalog images alone.")
        return [], {}, {}
    theirs: Mapping[str, Vectors] = {}
    if incumbent_bundle:
        same = _same_encoder(bundle, incumbent_bundle)
        theirs = ours if same else _photo_vectors(embeddings / "queries_incumbent")
        if not theirs:
            raise InputError(
                f"{embeddings}: the incumbent has another encoder, and the photos have no vectors "
                "by it; run the embed step with this incumbent"
            )
    return shopper_questions(kept), ours, theirs


def _same_encoder(bundle: Path, other: Path) -> bool:
    return read_encoder(bundle / "encoder").digest == read_encoder(other / "encoder").digest


def _photo_vectors(directory: Path) -> dict[str, Vectors]:
    if not any(directory.glob("*.parquet")):
        return {}
    embedded = embedding_files.read(directory)
    return dict(zip(embedded.ids, embedded.vectors, strict=True))


def _item_vectors(index: BundleIndex | None, questions: Sequence[Question]) -> dict[str, Any]:
    """Returns an index's own vectors of catalog images, of those it knows with this content."""
    if index is None:
        return {}
    return {
        q.query_id: index.vector(q.query_id)[0]
        for q in questions
        if q.query_id in index and index.item(q.query_id).content_hash == q.content_hash
    }
