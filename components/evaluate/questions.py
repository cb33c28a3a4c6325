"""What is asked, what came back, and one row of figures for each query."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from components.contracts.catalog import Item, Query
from components.contracts.embeddings import Vectors
from components.evaluate import metrics
from components.evaluate.relevance import LEVELS, Ideal, Relevance
from components.search.retrieval import BundleIndex, Hits

Kind = Literal["shopper", "item"]
PerQuery = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Question:
    """One query.

    Attributes:
        query_id: The photo's or item's id.
        kind: `shopper` for a photo, `item` for a catalog image, whose own product is left out.
        image: Where the picture lies.
        content_hash: SHA-256 of its bytes.
        taxon_id: What it shows.
        product_id: The product it shows; empty when unknown.
    """

    query_id: str
    kind: Kind
    image: str
    content_hash: str
    taxon_id: str
    product_id: str


@dataclass(frozen=True)
class Asked:
    """Questions with the answers of one index.

    Attributes:
        questions: What was asked.
        vectors: float32 `[questions, dim]`: what it was asked with.
        hits: The answers, one image a product.
        index: What answered.
    """

    questions: tuple[Question, ...]
    vectors: Vectors
    hits: tuple[Hits, ...]
    index: BundleIndex

    def __len__(self) -> int:
        """How many questions there are."""
        return len(self.questions)


def shopper_questions(queries: Sequence[Query]) -> list[Question]:
    """Returns the photos as questions."""
    return [
        Question(q.query_id, "shopper", q.image, q.content_hash, q.taxon_id, q.product_id)
        for q in queries
    ]


def item_questions(
    items: Sequence[Item], relevance: Relevance, *, count: int, seed: int
) -> list[Question]:
    """Returns a sample of the catalog images with a leaf for a label, as questions.

    The sample hangs on the ids alone: from day to day mostly the same items are asked.
    """

    def order(item: Item) -> str:
        return hashlib.sha256(f"{seed}:{item.item_id}".encode()).hexdigest()

    usable = sorted((item for item in items if relevance.is_leaf(item.taxon_id)), key=order)
    return [
        Question(i.item_id, "item", i.image, i.content_hash, i.taxon_id, i.product_id)
        for i in usable[:count]
    ]


def ask(index: BundleIndex, questions: Sequence[Question], vectors: Vectors, *, k: int) -> Asked:
    """Asks an index every question.

    Args:
        index: What answers.
        questions: What to ask.
        vectors: float32 `[questions, dim]`, unit norm, by the index's own encoder.
        k: Answers for each question.
    """
    left_out = [{q.product_id} if q.kind == "item" else set() for q in questions]
    hits = index.answer(vectors, k, exclude_products=left_out)
    return Asked(tuple(questions), vectors, tuple(hits), index)


def figures(
    asked: Asked,
    relevance: Relevance,
    labels: Mapping[str, str],
    products: frozenset[str],
) -> PerQuery:
    """Returns every metric for every question, NaN where a metric has no meaning for it.

    Args:
        asked: Questions and answers.
        relevance: The gains.
        labels: Today's label of each item id; items that left the catalog keep the index's label.
        products: The products of the checked catalog: a photo of any other one has no right
            product to find.

    Returns:
        `leaf_hit_at_10`, `leaf_precision_at_5|10`, `department_precision_at_5|10`, nDCG@10 at
        each level (`ndcg_at_10` at any depth) and, for photos, `product_recall_at_1|5|10`;
        float64 `[questions]` each.
    """
    items = asked.index.items

    def label(item: Item) -> str:
        return labels.get(item.item_id, item.taxon_id)

    gains = {level: np.zeros((len(asked), 10)) for level in LEVELS}
    same_product = np.zeros((len(asked), 10), np.bool_)
    for row, (question, hits) in enumerate(zip(asked.questions, asked.hits, strict=True)):
        for place, position in enumerate(hits.positions[:10]):
            found = items[position]
            same_product[row, place] = found.product_id == question.product_id
            for level in LEVELS:
                gains[level][row, place] = relevance.gain(question.taxon_id, label(found), level)
    ideal = Ideal(relevance, ((item.product_id, label(item)) for item in items))
    keys = [(q.taxon_id, q.product_id if q.kind == "item" else "") for q in asked.questions]
    at_leaf = np.array([relevance.is_leaf(q.taxon_id) for q in asked.questions], np.bool_)
    labelled = np.array([bool(relevance.department(q.taxon_id)) for q in asked.questions], np.bool_)
    findable = np.array(
        [q.kind == "shopper" and q.product_id in products for q in asked.questions], np.bool_
    )

    leaf, department = gains["leaf"] > 0, gains["department"] > 0
    result = {
        "leaf_hit_at_10": _where(at_leaf, metrics.hit_at(leaf, 10)),
        "leaf_precision_at_5": _where(at_leaf, metrics.precision_at(leaf, 5)),
        "leaf_precision_at_10": _where(at_leaf, metrics.precision_at(leaf, 10)),
        "department_precision_at_5": _where(labelled, metrics.precision_at(department, 5)),
        "department_precision_at_10": _where(labelled, metrics.precision_at(department, 10)),
    }
    for level in LEVELS:
        name = "ndcg_at_10" if level == "any" else f"{level}_ndcg_at_10"
        usable = at_leaf if level == "leaf" else labelled
        values = metrics.ndcg_at(gains[level], ideal.gains(keys, 10, level), 10)
        result[name] = _where(usable, values)
    for k in (1, 5, 10):
        result[f"product_recall_at_{k}"] = _where(findable, metrics.hit_at(same_product, k))
    return result


def means(per_query: PerQuery, mask: npt.NDArray[np.bool_] | None = None) -> dict[str, float]:
    """Returns the mean of each metric over the questions where it has a meaning.

    Args:
        per_query: What `figures` returned.
        mask: bool `[questions]`: which questions count; all when None.

    Returns:
        The means, and `queries`, how many questions there are; metrics that no question has a
        value for are left out.
    """
    result: dict[str, float] = {}
    count = 0
    for name, values in per_query.items():
        chosen = values if mask is None else values[mask]
        count = len(chosen)
        known = chosen[~np.isnan(chosen)]
        if len(known):
            result[name] = float(known.mean())
    result["queries"] = float(count)
    return result


def records(asked: Asked, labels: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yields one JSON object a question with its answers, as raters will judge them."""
    for question, hits in zip(asked.questions, asked.hits, strict=True):
        results = []
        for position, score in zip(hits.positions, hits.scores, strict=True):
            item = asked.index.items[position]
            results.append(
                {
                    "item_id": item.item_id,
                    "product_id": item.product_id,
                    "taxon_id": labels.get(item.item_id, item.taxon_id),
                    "image": item.image,
                    "content_hash": item.content_hash,
                    "score": score,
                }
            )
        yield {
            "query_id": question.query_id,
            "kind": question.kind,
            "image": question.image,
            "content_hash": question.content_hash,
            "taxon_id": question.taxon_id,
            "product_id": question.product_id,
            "results": results,
        }


def _where(mask: npt.NDArray[np.bool_], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mask, values, np.nan)
