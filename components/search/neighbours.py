"""What looks like each item, written down when the bundle is built.

Reading an answer takes a tenth of the time of searching for it. The table holds answers, not
neighbours: row after row the one plain question of the server (the item's own product left out, the
default k, nothing filtered) was asked of the index as it lies in the bundle, through the same
function and one item at a time, because ScaNN's batched search may find other neighbours. So
a row is what a search gives by construction, and whatever else is asked is searched for.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.contracts.errors import InputError
from components.contracts.processors import available_processors
from components.contracts.progress import Progress
from components.search import query
from components.search.query import Found, Limits, Products, Wanted
from components.search.searcher import Searcher, Vectors

NEIGHBOURS_FILE = "index/neighbours.npy"
# The plain question: what the API asks for when nothing else is said.
PLAIN = Wanted()
# An exact search looks at every item, so that a table takes four times as long for twice as many.
MOST_EXACT = 50_000
_AT_ONCE = 500


def _row_type(k: int) -> np.dtype[np.void]:
    """Returns a row: an answer of `k`, and how many neighbours were looked at for it."""
    return np.dtype([("positions", "<i4", (k,)), ("scores", "<f4", (k,)), ("examined", "<i4")])


def write(
    searcher: Searcher, vectors: Vectors, products: Products, bundle: Path, *, most_items: int
) -> bool:
    """Asks about every item and writes the answers into the bundle.

    Args:
        searcher: As loaded from the bundle.
        vectors: float32 `[items, dim]`, unit norm, as loaded from the bundle.
        products: `[items]`: a number for each product.
        bundle: The bundle's directory.
        most_items: No table is made for more.

    Returns:
        Whether there is a table: not past `most_items`, nor past `MOST_EXACT` where search is
        exact, nor for an index in shards, which a build does not hold in memory.
    """
    items = len(vectors)
    exact = searcher.parameters.backend == "brute_force"
    if items > (min(most_items, MOST_EXACT) if exact else most_items) or hasattr(searcher, "sizes"):
        return False
    table = np.zeros(items, _row_type(PLAIN.k))
    table["positions"] = -1

    def fill(start: int) -> int:
        stop = min(items, start + _AT_ONCE)
        for own in range(start, stop):
            limits = Limits(PLAIN.k, own=own, product=int(products[own]))
            found = query.find(searcher, vectors, products, vectors[own : own + 1], limits)
            # Short answers, and those for which so many were fetched that a server with anything
            # withdrawn would stop before, are left to a search.
            if len(found.positions) == PLAIN.k and found.examined <= query.MOST_FETCHED:
                table[own] = found.positions, found.scores, found.examined
        return stop - start

    # ScaNN lets other threads run while it searches.
    threads = available_processors()
    with (
        Progress("neighbours", total=items) as progress,
        ThreadPoolExecutor(threads, "neighbours") as pool,
    ):
        for done in pool.map(fill, range(0, items, _AT_ONCE)):
            progress.advance(done)
    np.save(bundle / NEIGHBOURS_FILE, table, allow_pickle=False)
    return True


class NeighbourTable:
    """A bundle's table, mapped into memory and shared by all processes that serve it."""

    def __init__(self, table: npt.NDArray[np.void]) -> None:
        """Takes the rows, in index order; see `write`."""
        self.k = int(table["positions"].shape[1])
        self._positions: npt.NDArray[np.int32] = table["positions"]
        self._scores: Vectors = table["scores"]
        self._examined: npt.NDArray[np.int32] = table["examined"]

    @classmethod
    def load(cls, bundle: Path, items: int) -> NeighbourTable | None:
        """Returns a bundle's table; None when it has none.

        Args:
            bundle: The bundle's directory; the caller has checked its sums.
            items: How many items it holds.

        Raises:
            InputError: The file is no such table, or not of as many items.
        """
        path = bundle / NEIGHBOURS_FILE
        if not path.exists():
            return None
        try:
            table = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: expected a table of neighbours ({error})") from None
        k = table.dtype["positions"].shape[0] if "positions" in (table.dtype.names or ()) else 0
        if not k or table.dtype != _row_type(k) or table.shape != (items,):
            raise InputError(
                f"{path}: expected {items} rows of positions, scores and how many were examined, "
                f"found {list(table.shape)} of {table.dtype}"
            )
        positions = table["positions"]
        if not -1 <= positions.min(initial=0) <= positions.max(initial=0) < items:
            raise InputError(f"{path}: expected positions below {items}, found others")
        # A plain view of the map: np.memmap's own bookkeeping slows every small operation.
        return cls(np.asarray(table))

    def answer(self, limits: Limits) -> Found | None:
        """Returns what a search would find, or None where that has to be searched for."""
        if (
            limits.k != self.k
            or limits.product < 0
            or limits.part is not None
            or limits.min_score > -1.0
        ):
            return None
        own = limits.own
        positions: list[int] = self._positions[own].tolist()
        if positions[-1] < 0 or not limits.withdrawn.isdisjoint(positions):
            return None
        return Found(positions, self._scores[own].tolist(), int(self._examined[own]))
