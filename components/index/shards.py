"""Building an index in shards: tuned on a sample, built piece by piece, proved as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from components.contracts.catalog import Item
from components.contracts.progress import Progress
from components.index.config import IndexConfig
from components.index.measure import Point, Questions
from components.index.queries import tuning_sample
from components.index.tune import CONFIDENCE, TRIES, Tuned, tune
from components.search import searcher as search
from components.search.retrieval import BundleIndex
from components.search.searcher import SCANN_DIRECTORY, ExactSearcher, Vectors
from components.search.sharded import ShardedSearcher, build_shards, shard_sizes

# How much wider the search becomes when the whole finds less than the sample did.
_WIDER = 1.5


def build_in_shards(
    items: Sequence[Item],
    vectors: Vectors,
    queries: Vectors,
    config: IndexConfig,
    bundle: Path,
) -> Tuned:
    """Builds shards into a bundle, and tells what the whole promises.

    Settings are tuned on a random sample as large as a shard. A neighbour that is among the best of
    all stands at least as high in its own shard, so that shards searched so find at least about as
    much; it is measured all the same, on queries kept back, shard after shard.

    Args:
        items: One a vector.
        vectors: float32 `[items, dim]`, unit norm, memory-mapped.
        queries: float32 `[queries, dim]`, unit norm: real query vectors, possibly none.
        config: Target, sizes and time.
        bundle: Existing directory with the vectors in place.

    Returns:
        What was tuned, with the searcher over all shards, which holds none in memory. Times of a
        query are those of a shard times the number of shards.
    """
    sizes = shard_sizes(len(vectors), config.shard_items)
    rng = np.random.default_rng(config.seed)
    rows = np.sort(rng.choice(len(vectors), sizes[0], replace=False))
    queries = queries[rng.permutation(len(queries))]
    half = len(queries) // 2
    limit = config.memory_limit_mb // len(sizes)
    tuned = tune(
        [_slim(items[int(row)]) for row in rows],
        np.ascontiguousarray(vectors[rows]),
        queries[:half],
        replace(config, memory_limit_mb=limit),
    )
    parameters = tuned.searcher.parameters
    if parameters.backend == "brute_force":
        search.write_config(bundle, parameters, shape=(len(vectors), vectors.shape[1]))
        return replace(tuned, searcher=ExactSearcher(vectors))
    # The sample's index is not needed any more, and its memory is.
    tuned = replace(tuned, searcher=ExactSearcher(vectors))
    with Progress("shards", total=len(sizes), unit="shards") as progress:
        build_shards(vectors, parameters, sizes, bundle / SCANN_DIRECTORY, built=progress.advance)
    shape = (len(vectors), int(vectors.shape[1]))
    search.write_config(bundle, parameters, shape=shape, shards=sizes)
    searcher = search.load(bundle, resident=False)
    assert isinstance(searcher, ShardedSearcher)
    searcher, held_out, asked = _prove(items, vectors, queries[half:], searcher, tuned, config)
    search.write_config(bundle, searcher.parameters, shape=shape, shards=sizes)
    return replace(tuned, searcher=searcher, held_out=held_out, queries=asked)


def _slim(item: Item) -> Item:
    """Returns what tuning needs of an item, in a third of the memory."""
    return Item(item.item_id, "", "", "", item.product_id)


def _prove(
    items: Sequence[Item],
    vectors: Vectors,
    queries: Vectors,
    searcher: ShardedSearcher,
    tuned: Tuned,
    config: IndexConfig,
) -> tuple[ShardedSearcher, Point, int]:
    """Returns the searcher that reaches the target on all items, what it promises, on how many."""
    exact = BundleIndex(items, vectors, ExactSearcher(vectors))
    sample = tuning_sample(
        items, vectors, queries, count=config.tuning_queries // 2, seed=config.seed + 1
    )
    # Timing a search that loads every shard would time the disk.
    questions = Questions(exact, sample, k=config.recall_at, timed=0)
    best: tuple[ShardedSearcher, Point] | None = None
    for _ in range(TRIES):
        point = questions.measure(searcher, confidence=CONFIDENCE)
        if best is None or point.recall_lower > best[1].recall_lower:
            best = searcher, point
        if point.recall_lower >= config.recall_target:
            break
        now = searcher.parameters
        searcher = searcher.tuned(
            reorder=round(_WIDER * now.reorder),
            leaves_to_search=min(now.leaves, round(_WIDER * now.leaves_to_search)),
        )
    assert best is not None
    shards = len(searcher.sizes)
    point = replace(
        best[1],
        cpu_ms=shards * tuned.held_out.cpu_ms,
        p50_ms=shards * tuned.held_out.p50_ms,
        p95_ms=shards * tuned.held_out.p95_ms,
        build_seconds=shards * tuned.held_out.build_seconds,
    )
    return best[0], point, len(sample)
