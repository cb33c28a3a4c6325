"""Queries to tune with: both kinds that the index is asked, photos and its own items.

Photos are real ones first, then made ones. An item's own vector would be found too easily; it is
asked as serving asks it, with its own product left out of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.contracts.catalog import Item
from components.search.searcher import ExactSearcher, Vectors

# How many neighbours a made query may move towards, and how far of the way.
_NEIGHBOURS = 20
_WAY = (0.3, 0.7)


@dataclass(frozen=True)
class Sample:
    """Queries in random order.

    Attributes:
        vectors: float32 `[queries, dim]`, unit norm.
        left_out: For each query the product that its answer must not hold, a catalog item's own;
            empty for a photo.
    """

    vectors: Vectors
    left_out: tuple[str, ...]

    @classmethod
    def of_photos(cls, vectors: Vectors) -> Sample:
        """Returns the queries of vectors that are no indexed item's."""
        return cls(vectors, ("",) * len(vectors))

    def __len__(self) -> int:
        """How many queries there are."""
        return len(self.left_out)

    def __getitem__(self, rows: slice) -> Sample:
        """Returns some of them."""
        return Sample(self.vectors[rows], self.left_out[rows])

    @property
    def kinds(self) -> list[npt.NDArray[np.int64]]:
        """The rows of photos and those of items, int64 `[rows]`, of each kind that there is."""
        of_items = np.array([bool(product) for product in self.left_out], np.bool_)
        return [rows for mask in (~of_items, of_items) if len(rows := np.flatnonzero(mask))]


def tuning_sample(
    items: Sequence[Item], vectors: Vectors, queries: Vectors, *, count: int, seed: int
) -> Sample:
    """Returns queries to tune with, half of them photos and half of them catalog items.

    Args:
        items: One a vector.
        vectors: float32 `[items, dim]`, unit norm.
        queries: float32 `[queries, dim]`, unit norm: real photos' vectors, possibly none.
        count: How many to return; where there are fewer items than half of it, the rest are photos.
        seed: Seed of the draw.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(items))[: count // 2])
    photos = held_out_queries(queries, vectors, count=count - len(rows), seed=seed)
    together = np.concatenate([photos, np.asarray(vectors[rows])])
    left_out = [""] * len(photos) + [items[int(row)].product_id for row in rows]
    order = rng.permutation(len(together))
    return Sample(
        np.ascontiguousarray(together[order], np.float32),
        tuple(left_out[place] for place in order),
    )


def held_out_queries(queries: Vectors, items: Vectors, *, count: int, seed: int) -> Vectors:
    """Returns queries as photos would be: none of them is an indexed item.

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
