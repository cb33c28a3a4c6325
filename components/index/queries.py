"""Queries to tune with: real ones first, then made ones; never an indexed item itself."""

from __future__ import annotations

import numpy as np

from components.search.searcher import ExactSearcher, Vectors

# How many neighbours a made query may move towards, and how far of the way.
_NEIGHBOURS = 20
_WAY = (0.3, 0.7)


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
