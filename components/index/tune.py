"""Choosing how the index searches: fast enough to be worth it, and proved to find what is there."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from components.contracts.catalog import Item
from components.contracts.progress import Progress
from components.index.config import AUTO, IndexConfig
from components.search import searcher as search
from components.search.retrieval import BundleIndex, Hits, recall_of
from components.search.searcher import ExactSearcher, IndexParameters, Searcher, Vectors

# One-sided 95% normal quantile.
_Z = 1.6449
# How many neighbours a made query may move towards, and how far of the way.
_NEIGHBOURS = 20
_WAY = (0.3, 0.7)
# Timing a setting that takes long for a query stops early: it will not be chosen.
_FEWEST_TIMED, _MOST_TIMED_MS = 20, 1000.0
_LEAF_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_REORDER_FACTORS = (3, 10, 30, 100)


@dataclass(frozen=True)
class Point:
    """One setting of the searcher, measured.

    Attributes:
        leaves_to_search: Partitions scanned; 0 without a tree.
        reorder: Candidates scored again exactly; 0 where every score is exact.
        recall: Mean recall over the queries, one image a product, in [0, 1].
        recall_lower: Lower 95% confidence bound of it.
        p50_ms: Median time of a single query, in milliseconds.
        p95_ms: 95th percentile of the same.
    """

    leaves_to_search: int
    reorder: int
    recall: float
    recall_lower: float
    p50_ms: float
    p95_ms: float

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Tuned:
    """The searcher chosen.

    Attributes:
        searcher: Ready to save.
        points: Everything measured while choosing.
        chosen: Position of the chosen setting in `points`.
        held_out: The chosen setting measured on queries that played no part in choosing it.
        queries: How many queries `held_out` was measured on.
    """

    searcher: Searcher
    points: tuple[Point, ...]
    chosen: int
    held_out: Point
    queries: int


def tune(items: Sequence[Item], vectors: Vectors, queries: Vectors, config: IndexConfig) -> Tuned:
    """Builds the index and chooses its settings, on answers as they are served.

    Args:
        items: One a vector.
        vectors: float32 `[items, dim]`, unit norm.
        queries: float32 `[queries, dim]`, unit norm: real query vectors, possibly none.
        config: Target and sizes.

    Returns:
        The fastest setting whose lower recall bound reaches the target; settings run up to an
        exhaustive one, so that there always is one unless scores are kept in bfloat16 or the
        queries are too few for the bound: then the setting with the best bound.
    """
    searcher = search.build(vectors, initial_parameters(len(vectors), config))
    index = BundleIndex(items, vectors, searcher)
    exact = index.exact()
    sample = held_out_queries(queries, vectors, count=config.tuning_queries, seed=config.seed)
    half = len(sample) // 2
    choosing, measuring = sample[:half], sample[half:]
    best = exact.answer(choosing, config.recall_at)
    variants = _variants(searcher, config.recall_at)
    points = []
    with Progress("tune", total=len(variants), unit="settings") as progress:
        for variant in variants:
            points.append(_measure(index.searched_by(variant), choosing, best, config))
            progress.advance()
    reached = [n for n, point in enumerate(points) if point.recall_lower >= config.recall_target]
    chosen = (
        min(reached, key=lambda n: points[n].p50_ms)
        if reached
        else max(range(len(points)), key=lambda n: points[n].recall_lower)
    )
    held_out = _measure(
        index.searched_by(variants[chosen]),
        measuring,
        exact.answer(measuring, config.recall_at),
        config,
    )
    return Tuned(variants[chosen], tuple(points), chosen, held_out, len(measuring))


def initial_parameters(items: int, config: IndexConfig) -> IndexParameters:
    """Returns the backend for a catalog of this size, with settings to build it with."""
    backend = config.backend
    if backend == AUTO:
        if items < config.brute_force_below:
            backend = "brute_force"
        else:
            backend = "ah" if items < config.tree_from else "tree_ah"
    if backend == "brute_force":
        return IndexParameters(backend="brute_force")
    reorder = min(items, 10 * config.recall_at)
    if backend == "ah":
        return IndexParameters(
            backend="ah", reorder=reorder, bfloat16_reorder=config.bfloat16_reorder
        )
    # 2000 leaves for a million points measured best among those tried (facts of the stack).
    leaves = max(1, min(items // 4, round(2 * math.sqrt(items))))
    return IndexParameters(
        backend="tree_ah",
        leaves=leaves,
        leaves_to_search=max(1, leaves // 20),
        reorder=reorder,
        soar=config.soar,
        bfloat16_reorder=config.bfloat16_reorder,
    )


def held_out_queries(queries: Vectors, items: Vectors, *, count: int, seed: int) -> Vectors:
    """Returns queries to tune with: none of them is an indexed item.

    Real queries come first. What is missing up to `count` is made in equal parts of real queries
    and of items (of items alone where there are no queries): each is moved some way towards one of
    its near neighbours in the index. So it lies where queries lie, and, unlike an item's own
    vector, is not found too easily.

    Args:
        queries: float32 `[queries, dim]`, possibly empty.
        items: float32 `[items, dim]`.
        count: How many to return.
        seed: Seed of the draw.

    Returns:
        float32 `[count, dim]`, unit norm, in random order.
    """
    rng = np.random.default_rng(seed)
    parts = [queries[rng.permutation(len(queries))[:count]]]
    missing = count - len(parts[0])
    from_queries = missing // 2 if len(queries) else 0
    for source, share in ((queries, from_queries), (items, missing - from_queries)):
        if share:
            chosen = np.asarray(source[rng.integers(0, len(source), share)])
            parts.append(_towards_neighbours(chosen, items, rng))
    together = np.concatenate(parts).astype(np.float32)
    return np.ascontiguousarray(together[rng.permutation(len(together))])


def _towards_neighbours(chosen: Vectors, items: Vectors, rng: np.random.Generator) -> Vectors:
    near, _ = ExactSearcher(items).search(np.ascontiguousarray(chosen), _NEIGHBOURS)
    # The nearest neighbour of an item is the item itself: it must not stay where it is.
    found = min(_NEIGHBOURS, len(items))
    places = rng.integers(min(1, found - 1), found, len(chosen))
    neighbour = near[np.arange(len(chosen)), places]
    way = rng.uniform(*_WAY, size=(len(chosen), 1)).astype(np.float32)
    moved = (1 - way) * chosen + way * items[neighbour]
    norms = np.linalg.norm(moved, axis=1, keepdims=True)
    # Opposite vectors meet in the middle at zero; such a one stays where it was.
    return np.asarray(np.where(norms > 1e-3, moved / np.maximum(norms, 1e-3), chosen), np.float32)


def recall_lower_bound(recall: float, queries: int) -> float:
    """Returns the one-sided 95% Wilson lower bound of a mean recall.

    A query's recall lies in [0, 1], so its variance is at most that of a coin with the same mean:
    the bound for a coin holds, and is cautious.

    Args:
        recall: Mean over the queries.
        queries: How many.

    Source:
        Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if not queries:
        return 0.0
    square = _Z**2 / queries
    spread = _Z * math.sqrt(recall * (1 - recall) / queries + square / (4 * queries))
    return max(0.0, (recall + square / 2 - spread) / (1 + square))


def _variants(searcher: Searcher, k: int) -> list[Searcher]:
    parameters = searcher.parameters
    if parameters.backend == "brute_force":
        return [searcher]
    from components.search.scann_backend import ScannSearcher  # noqa: PLC0415

    assert isinstance(searcher, ScannSearcher)
    items = searcher.shape[0]
    widths = sorted({min(items, k * factor) for factor in _REORDER_FACTORS} | {items})
    leaves = [0]
    if parameters.backend == "tree_ah":
        leaves = sorted({max(1, round(parameters.leaves * share)) for share in _LEAF_SHARES})
    # Reordering every item is the exhaustive end of the curve; with few leaves it says nothing.
    return [
        searcher.tuned(reorder=width, leaves_to_search=leaf)
        for leaf in leaves
        for width in widths
        if width < items or leaf == leaves[-1]
    ]


def _measure(
    index: BundleIndex, queries: Vectors, best: Sequence[Hits], config: IndexConfig
) -> Point:
    answers = index.answer(queries, config.recall_at)
    recall = float(np.nanmean(recall_of(index, queries, answers, best)))
    times: list[float] = []
    for number in range(config.latency_queries):
        row = number % len(queries)
        start = time.perf_counter()
        index.answer(queries[row : row + 1], config.recall_at)
        times.append(1e3 * (time.perf_counter() - start))
        if number >= _FEWEST_TIMED and sum(times) > _MOST_TIMED_MS:
            break
    parameters = index.searcher.parameters
    return Point(
        leaves_to_search=parameters.leaves_to_search,
        reorder=0 if parameters.backend == "brute_force" else parameters.reorder,
        recall=recall,
        recall_lower=recall_lower_bound(recall, len(queries)),
        p50_ms=float(np.percentile(times, 50)),
        p95_ms=float(np.percentile(times, 95)),
    )
