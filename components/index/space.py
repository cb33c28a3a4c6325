"""What the tuner may try: settings that need a new index, and settings of a built one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from components.index.config import AUTO, IndexConfig
from components.search.searcher import MIN_QUANTISED_POINTS, IndexParameters

# Shares of the partitions scanned for a query, and vectors scored again exactly, as multiples of k.
_LEAF_SHARES = (0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.4, 1.0)
_REORDER_FACTORS = (4, 6, 10, 15, 25, 40, 100)
# Above this many items no query is answered by scoring them all exactly.
_EXHAUSTIVE_BELOW = 100_000
# A catalog of so many items is scanned whole or, cheaper, by partitions; a whole scan of more
# takes several times as long as the partitions do.
_WHOLE_SCAN_BELOW = 200_000
ANISOTROPIC_THRESHOLDS = (0.1, 0.2, 0.3)
# Past so many codes a point ScaNN leaves its fastest path.
_MOST_BLOCKS = 256


def starts(items: int, dim: int, config: IndexConfig) -> list[IndexParameters]:
    """Returns what to begin with: the backends that can win at this size, the likeliest first.

    Exact search is not among them: it needs no building and is measured in any case.
    """
    if items < MIN_QUANTISED_POINTS and config.backend == AUTO:
        return []
    if config.backend == "brute_force" or (
        config.backend == AUTO and items < config.brute_force_below
    ):
        return []
    reorder = min(items, 10 * config.recall_at)
    per_block = max(2, math.ceil(dim / _MOST_BLOCKS))
    scan = IndexParameters(backend="ah", reorder=reorder, dimensions_per_block=per_block)
    # 1,000,000 x 128 in clusters at recall 0.95: 4000 leaves answer half as fast again as 2000, and
    # take half as long again to build.
    leaves = max(1, min(items // 4, round(4 * math.sqrt(items))))
    tree = IndexParameters(
        backend="tree_ah",
        leaves=leaves,
        leaves_to_search=max(1, leaves // 20),
        reorder=reorder,
        dimensions_per_block=per_block,
        soar=True,
    )
    if config.backend == AUTO:
        return [tree, scan] if items < _WHOLE_SCAN_BELOW else [tree]
    return [scan] if config.backend == "ah" else [tree]


def moves(parameters: IndexParameters) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Yields the parameters to vary one after the other, the most promising first.

    Yields:
        The parameter's name and how to vary it: a factor for `leaves` (repeated while it helps),
        values for the others.
    """
    tree = parameters.backend == "tree_ah"
    if tree:
        yield "leaves", (0.5, 2.0)
    yield "bfloat16_reorder", (True, False)
    if tree:
        yield "soar", (False, True)
    yield "dimensions_per_block", (2 * parameters.dimensions_per_block,)
    yield "anisotropic_threshold", ANISOTROPIC_THRESHOLDS


def with_leaves(parameters: IndexParameters, factor: float, items: int) -> IndexParameters | None:
    """Returns the parameters with so many times the partitions; None when that makes no sense."""
    leaves = round(parameters.leaves * factor)
    if not 2 <= leaves <= max(2, items // 4):
        return None
    return replace(parameters, leaves=leaves, leaves_to_search=max(1, leaves // 20))


def as_built(parameters: IndexParameters) -> IndexParameters:
    """Returns what the index was built with: the same for all settings of searching it."""
    return replace(parameters, reorder=1, leaves_to_search=min(1, parameters.leaves))


def leaf_counts(parameters: IndexParameters) -> list[int]:
    """Returns how many partitions a query may scan, ascending; [0] without a tree."""
    if parameters.backend != "tree_ah":
        return [0]
    return sorted({max(1, round(parameters.leaves * share)) for share in _LEAF_SHARES})


def reorder_widths(items: int, k: int) -> list[int]:
    """Returns how many vectors may be scored again exactly, ascending."""
    return sorted({min(items, k * factor) for factor in _REORDER_FACTORS})


def exhaustive(parameters: IndexParameters, items: int) -> IndexParameters | None:
    """Returns the setting that scores every item exactly; None where that would take for ever."""
    if items > _EXHAUSTIVE_BELOW:
        return None
    return replace(parameters, reorder=items, leaves_to_search=parameters.leaves)
