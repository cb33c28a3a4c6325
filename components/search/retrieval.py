"""Answers over a bundle: nearest items by id, one image a product, in the way of serving.

Serving, the evaluation and the golden queries all ask through `BundleIndex`, so that what was
measured is what shoppers get.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.contracts.catalog import ITEMS_FILE, Item
from components.contracts.errors import InputError
from components.search import searcher as search
from components.search.item_file import ItemFile, open_items
from components.search.searcher import ExactSearcher, Indices, Searcher, Vectors

ITEM_IDS_FILE = "index/item_ids.npy"
# Products have a few views each: fetching this many images for each product asked for leaves few
# queries that must be asked again.
FIRST_FETCH = 4
# What a fetch that left too few products is multiplied by. An approximate index may answer a larger
# fetch with other neighbours, so the server, which has this rule of its own, must use both as well.
NEXT_FETCH = 2
# Rounding in scores; items as near as this are equally good answers.
_SCORE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Hits:
    """The answer to one query, best first.

    Attributes:
        item_ids: The items found.
        product_ids: Their products, in the same order.
        scores: Cosine similarities in [-1, 1], in the same order.
        positions: Where the items stand in the index, in the same order.
    """

    item_ids: list[str]
    product_ids: list[str]
    scores: list[float]
    positions: list[int]

    def __len__(self) -> int:
        """How many items were found."""
        return len(self.item_ids)

    def first(self, k: int) -> Hits:
        """Returns the best `k` of them."""
        return Hits(self.item_ids[:k], self.product_ids[:k], self.scores[:k], self.positions[:k])


class BundleIndex:
    """The items of a bundle with the searcher over their vectors."""

    def __init__(self, items: Sequence[Item], vectors: Vectors, searcher: Searcher) -> None:
        """Joins items, vectors and searcher, all in index order.

        Args:
            items: One a vector.
            vectors: float32 `[items, dim]`, unit norm; may be memory-mapped.
            searcher: Built over these vectors.

        Raises:
            InputError: They are not equally many.
        """
        if not len(items) == len(vectors) == searcher.shape[0]:
            raise InputError(
                f"index: expected as many items as vectors, received {len(items)} items, "
                f"{len(vectors)} vectors and a searcher over {searcher.shape[0]}"
            )
        self.items = items if isinstance(items, ItemFile) else tuple(items)
        self.vectors = vectors
        self.searcher = searcher
        self._codes: dict[str, int] = {}
        self._product_of = np.fromiter(
            (self._codes.setdefault(item.product_id, len(self._codes)) for item in items),
            np.int64,
            len(items),
        )

    @classmethod
    def load(cls, bundle: Path, *, resident: bool = True) -> BundleIndex:
        """Loads a bundle's index; the caller has checked the bundle's sums.

        Args:
            bundle: The bundle's directory.
            resident: See `components.search.searcher.load`.

        Raises:
            InputError: Files are missing or do not belong together.
        """
        items = open_items(bundle / ITEMS_FILE)
        path = bundle / ITEM_IDS_FILE
        try:
            item_ids = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: expected a npy file of item ids ({error})") from None
        if len(item_ids) != len(items) or any(
            str(item_id) != item.item_id for item_id, item in zip(item_ids, items, strict=True)
        ):
            raise InputError(
                f"{path}: expected the ids of items.jsonl in the same order; the files are of "
                "different builds"
            )
        return cls(items, search.load_vectors(bundle), search.load(bundle, resident=resident))

    @property
    def products(self) -> npt.NDArray[np.int64]:
        """int64 `[items]`: a number for each item's product."""
        return self._product_of

    def exact(self) -> BundleIndex:
        """Returns the same index searched exactly: what approximate answers are measured by."""
        return self.searched_by(ExactSearcher(self.vectors))

    def searched_by(self, searcher: Searcher) -> BundleIndex:
        """Returns the same items behind another searcher over the same vectors."""
        other = copy(self)
        other.searcher = searcher
        return other

    @cached_property
    def _positions(self) -> dict[str, int]:
        """Item id -> position; made when it is first asked for."""
        return {item.item_id: position for position, item in enumerate(self.items)}

    def __contains__(self, item_id: object) -> bool:
        """Whether the item is indexed."""
        return item_id in self._positions

    def position(self, item_id: str) -> int:
        """Returns where an item stands in the index; KeyError when it is not indexed."""
        return self._positions[item_id]

    def item(self, item_id: str) -> Item:
        """Returns an item's record; KeyError when it is not indexed."""
        return self.items[self._positions[item_id]]

    def vector(self, item_id: str) -> Vectors:
        """Returns an item's vector as float32 `[1, dim]`; KeyError when it is not indexed."""
        position = self._positions[item_id]
        return self.vectors[position : position + 1]

    def answer(
        self,
        vectors: Vectors,
        k: int,
        *,
        one_per_product: bool = True,
        exclude_products: Sequence[Collection[str]] | None = None,
    ) -> list[Hits]:
        """Finds the items most similar to each query.

        Args:
            vectors: float32 `[queries, dim]`, unit norm.
            k: Most items in an answer.
            one_per_product: Keep only the best image of each product.
            exclude_products: For each query, products that its answer must not hold.

        Returns:
            One answer a query, shorter than `k` only when the index holds no more.

        Raises:
            InputError: The queries cannot be searched with, or the lists differ in length.
        """
        excluded = self._exclusions(exclude_products, len(vectors))
        items = self.searcher.shape[0]
        found: list[tuple[Indices, Vectors]] = [
            (np.empty(0, np.int64), np.empty(0, np.float32)) for _ in range(len(vectors))
        ]
        rows = np.arange(len(vectors))
        plain = not one_per_product and not len(excluded)
        fetch = min(items, k if plain else FIRST_FETCH * k)
        while len(rows):
            indices, scores = self.searcher.search(vectors[rows], fetch)
            keep = self._keep(indices, rows, excluded, one_per_product=one_per_product)
            # The k-th kept image closes the answer.
            keep &= np.cumsum(keep, axis=1) <= k
            short = np.zeros(len(rows), np.bool_)
            for number, row in enumerate(rows):
                mask = keep[number]
                found[row] = indices[number][mask], scores[number][mask]
                short[number] = len(found[row][0]) < k and fetch < items
            rows = rows[short]
            fetch = min(items, NEXT_FETCH * fetch)
        return [self._hits(*one) for one in found]

    def _exclusions(
        self, products: Sequence[Collection[str]] | None, queries: int
    ) -> npt.NDArray[np.int64]:
        """Returns int64 keys, query number x products + product code, of what is left out."""
        if products is None:
            return np.empty(0, np.int64)
        if len(products) != queries:
            raise InputError(
                f"search: expected one collection of products a query, received {len(products)} "
                f"for {queries} queries"
            )
        keys = [
            row * len(self._codes) + self._codes[product]
            for row, names in enumerate(products)
            for product in names
            if product in self._codes
        ]
        return np.asarray(keys, np.int64)

    def _keep(
        self,
        indices: Indices,
        rows: npt.NDArray[np.int64],
        excluded: npt.NDArray[np.int64],
        *,
        one_per_product: bool,
    ) -> npt.NDArray[np.bool_]:
        """Returns bool `[queries, fetched]`: which neighbours an answer may hold."""
        keep = indices >= 0
        keys = rows[:, None] * len(self._codes) + self._product_of[np.maximum(indices, 0)]
        if len(excluded):
            keep &= ~np.isin(keys, excluded)
        if one_per_product:
            # np.unique returns where each key stands first; rows are sorted best first, so that
            # is the best view. Padding repeats the key of item 0 and must not hide a real one,
            # which it cannot: padding stands at the end of its row.
            first = np.zeros(keys.size, np.bool_)
            first[np.unique(keys, return_index=True)[1]] = True
            keep &= first.reshape(keys.shape)
        return keep

    def _hits(self, indices: Indices, scores: Vectors) -> Hits:
        positions = indices.tolist()
        items = [self.items[position] for position in positions]
        return Hits(
            item_ids=[item.item_id for item in items],
            product_ids=[item.product_id for item in items],
            # Rounding can carry a cosine a few 1e-7 past 1.
            scores=np.clip(scores, -1.0, 1.0).tolist(),
            positions=positions,
        )


def recall_of(
    index: BundleIndex, vectors: Vectors, answers: Sequence[Hits], best: Sequence[Hits]
) -> npt.NDArray[np.float64]:
    """Returns each query's recall: the share of the best answer that the index found.

    A hit counts when its true score reaches that of the best answer's last hit, so that equally
    similar items are equally right.

    Args:
        index: What answered.
        vectors: float32 `[queries, dim]`: what was asked.
        answers: The index's answers.
        best: The answers of `index.exact()`, asked the same.

    Returns:
        float64 `[queries]` in [0, 1]; NaN where there was nothing to find.
    """
    recalls = np.full(len(answers), np.nan)
    for row, (vector, ours, exact) in enumerate(zip(vectors, answers, best, strict=True)):
        if len(exact):
            scores = index.vectors[ours.positions] @ vector
            right = np.sum(scores >= exact.scores[-1] - _SCORE_TOLERANCE)
            recalls[row] = min(1.0, float(right) / len(exact))
    return recalls
