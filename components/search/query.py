"""What a search asks for, and choosing the answer among the neighbours that were found.

The rule is the one of `components.search.retrieval.BundleIndex.answer`, by which the golden
queries and all measured answers were made: the nearest items, one image a product. A test holds
the two equal. This one is written for single queries, which it answers in a tenth of the time,
and knows the filters of the API. The server asks through it, and so does the index step when it
writes down beforehand what looks like each item (`components.search.neighbours`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.search.retrieval import FIRST_FETCH, NEXT_FETCH
from components.search.searcher import Indices, Searcher, Vectors

# Of each item: a number for its product.
Products = npt.NDArray[np.integer[Any]]

# A filter that leaves too few is passed faster: such answers are recorded nowhere.
_NEXT_FETCH_OF_PART = 4
# A filter that leaves at most this many items is answered exactly, by scoring them all: 128
# dimensions of them take about a millisecond.
EXACT_ROWS = 10_000
# The most neighbours that are fetched to get past a filter; further down they look nothing alike,
# and fetching them costs more than the whole rest of the server.
MOST_FETCHED = 20_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a search asks for.

    Attributes:
        k: Most results.
        taxon_id: Only items at or below this active node; empty for all.
        min_score: Only items whose cosine is at least this.
        exclude_same_product: Whether the images of the query item's own product are left out.
    """

    k: int = 10
    taxon_id: str = ""
    min_score: float = -1.0
    exclude_same_product: bool = True


@dataclass(frozen=True)
class Part:
    """A part of the catalog.

    Attributes:
        taxon_id: The node that it lies at or below.
        mask: bool `[items]`: which items belong to it.
        rows: int64, their positions, ascending.
    """

    taxon_id: str
    mask: npt.NDArray[np.bool_]
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Limits:
    """Which neighbours an answer may hold.

    Attributes:
        k: Most results.
        part: The part of the catalog; None for all of it.
        min_score: The smallest cosine.
        withdrawn: Positions of items that are not shown.
        own: Position of the item that was asked about; -1 where there is none.
        product: The product that is left out; -1 for none.
    """

    k: int
    part: Part | None = None
    min_score: float = -1.0
    withdrawn: frozenset[int] = frozenset()
    own: int = -1
    product: int = -1

    @property
    def filters(self) -> bool:
        """Whether anything but the catalog's size can leave an answer short."""
        return self.part is not None or self.min_score > -1.0 or bool(self.withdrawn)


@dataclass(slots=True)
class Found:
    """An answer, best first.

    Attributes:
        positions: Where the items stand in the index.
        scores: Their cosines in [-1, 1], in the same order.
        examined: How many neighbours were looked at.
        starved: Whether a filter left fewer than were asked for.
    """

    positions: list[int]
    scores: list[float]
    examined: int = 0
    starved: bool = False


def is_exact(limits: Limits) -> bool:
    """Whether the part is so small that all of it is scored."""
    return limits.part is not None and len(limits.part.rows) <= EXACT_ROWS


def first_fetch(items: int, limits: Limits) -> int:
    """Returns how many neighbours to fetch at first."""
    fetch = FIRST_FETCH * limits.k
    if limits.part is not None:
        # As many as hold the wanted number of the part's items, were they spread evenly.
        fetch = fetch * items // max(1, len(limits.part.rows))
    return min(fetch, _most(items, limits))


def _most(items: int, limits: Limits) -> int:
    """Returns how many neighbours an answer may cost."""
    # Where nothing filters, only views of products already shown are in the way: they end.
    return min(items, max(MOST_FETCHED, FIRST_FETCH * limits.k)) if limits.filters else items


def find(
    searcher: Searcher, vectors: Vectors, products: Products, query: Vectors, limits: Limits
) -> Found:
    """Answers one query.

    Args:
        searcher: Over `vectors`.
        vectors: float32 `[items, dim]`, unit norm.
        products: Of the items, in the same order.
        query: float32 `[1, dim]`, unit norm.
        limits: What the answer may hold.
    """
    if is_exact(limits):
        return _exact(vectors, products, query, limits)
    indices, scores = searcher.search(query, first_fetch(len(products), limits))
    return finish(searcher, products, query, limits, indices[0], scores[0])


def finish(
    searcher: Searcher,
    products: Products,
    query: Vectors,
    limits: Limits,
    indices: Indices,
    scores: Vectors,
) -> Found:
    """Answers one query from its first neighbours, fetching more when they are too few.

    Args:
        searcher: Over the items' vectors.
        products: Of the index's items.
        query: float32 `[1, dim]`.
        limits: What the answer may hold.
        indices: int64 `[fetched]`: the first neighbours, nearest first, padded with -1.
        scores: float32 `[fetched]`: their cosines.
    """
    most = _most(len(products), limits)
    growth = NEXT_FETCH if limits.part is None else _NEXT_FETCH_OF_PART
    while True:
        fetched = len(indices)
        found = choose(products, indices, scores, limits)
        found.examined = fetched
        # Below the smallest score there is nothing more to find.
        if len(found.positions) == limits.k or fetched >= most or scores[-1] < limits.min_score:
            found.starved = limits.filters and len(found.positions) < limits.k
            return found
        more, values = searcher.search(query, min(most, growth * fetched))
        indices, scores = more[0], values[0]


def choose(products: Products, indices: Indices, scores: Vectors, limits: Limits) -> Found:
    """Returns the best neighbours that an answer may hold, one image a product.

    Args:
        products: Of the index's items.
        indices: int64 `[n]`: positions, nearest first, padded with -1 at the end.
        scores: float32 `[n]`: their cosines.
        limits: What the answer may hold.
    """
    positions: list[int] = []
    cosines: list[float] = []
    # Products that are shown already, or left out.
    seen = {limits.product}
    k, own, smallest, withdrawn = limits.k, limits.own, limits.min_score, limits.withdrawn
    allowed = None if limits.part is None else limits.part.mask[indices].tolist()
    product_of = products[indices].tolist()
    for place, (position, score) in enumerate(zip(indices.tolist(), scores.tolist(), strict=True)):
        if position < 0 or score < smallest:
            break
        product = product_of[place]
        if (
            product in seen
            or position == own
            or position in withdrawn
            or (allowed is not None and not allowed[place])
        ):
            continue
        seen.add(product)
        positions.append(position)
        # Rounding can carry a cosine a few 1e-7 past 1.
        cosines.append(1.0 if score > 1.0 else max(score, -1.0))
        if len(positions) == k:
            break
    return Found(positions, cosines)


def _exact(vectors: Vectors, products: Products, query: Vectors, limits: Limits) -> Found:
    assert limits.part is not None
    rows = limits.part.rows
    scores = vectors[rows] @ query[0]
    order = np.lexsort((rows, -scores))
    found = choose(products, rows[order], scores[order], limits)
    found.examined = len(rows)
    found.starved = len(found.positions) < limits.k
    return found
