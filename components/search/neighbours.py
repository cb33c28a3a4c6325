"""A table of every item's nearest neighbours, made with the bundle.

What looks like an indexed item is known when the index is built: reading a row takes a third of
the time of a search, and served requests come out up to 1.7 times as many
(`tests/benchmarks/bench_neighbour_table.py`). The table answers nothing of its own: it holds what
the bundle's searcher answers, so whatever a row cannot answer (a filter by taxon, a large k, too
many withdrawn) is searched for and is answered by the same neighbours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.contracts.errors import InputError
from components.search.searcher import Indices, Searcher, Vectors

NEIGHBOURS_FILE = "index/neighbours.npy"
SCORES_FILE = "index/neighbour_scores.npy"
WIDTH = 50
# 400 bytes an item: past this, 800 MB to download with every version cost more than they give.
MOST_ITEMS = 2_000_000
# An exact search of every item for every item takes a minute here, and a hundred times as long for
# ten times as many.
MOST_EXACT = 100_000
_AT_ONCE = 1000
# How many rows are compared with a search when a table is loaded, and how much of them must be
# alike: another build's rows have nothing in common with it.
_COMPARED = 5
_LEAST_ALIKE = 0.5


def write(searcher: Searcher, vectors: Vectors, bundle: Path) -> bool:
    """Writes the table: int32 and float32 `[items, width]`, nearest first, padded with -1.

    Args:
        searcher: The bundle's own, as it will be asked.
        vectors: float32 `[items, dim]`, unit norm, in index order.
        bundle: The bundle's directory.

    Returns:
        Whether there is a table: not for a single item, nor for more than `MOST_ITEMS`, or
        `MOST_EXACT` where search is exact.
    """
    items = len(vectors)
    width = min(WIDTH, items - 1)
    exact = searcher.parameters.backend == "brute_force"
    if width < 1 or items > (MOST_EXACT if exact else MOST_ITEMS):
        return False
    neighbours = np.empty((items, width), np.int32)
    scores = np.empty((items, width), np.float32)
    for start in range(0, items, _AT_ONCE):
        stop = min(items, start + _AT_ONCE)
        block = np.ascontiguousarray(vectors[start:stop], np.float32)
        found, cosines = searcher.search(block, width + 1)
        # The item itself is left out. It need not come first where pictures are the same, nor at
        # all where the search is approximate: then the last one goes.
        out = found == np.arange(start, stop)[:, None]
        out[~out.any(axis=1), -1] = True
        neighbours[start:stop] = found[~out].reshape(-1, width)
        scores[start:stop] = cosines[~out].reshape(-1, width)
    (bundle / NEIGHBOURS_FILE).parent.mkdir(parents=True, exist_ok=True)
    np.save(bundle / NEIGHBOURS_FILE, neighbours, allow_pickle=False)
    np.save(bundle / SCORES_FILE, scores, allow_pickle=False)
    return True


class NeighbourTable:
    """A bundle's table, mapped into memory and shared by all processes that serve it."""

    def __init__(self, neighbours: npt.NDArray[np.int32], scores: Vectors) -> None:
        """Takes the two halves, in index order; see `write`."""
        self._neighbours = neighbours
        self._scores = scores

    @classmethod
    def load(cls, bundle: Path, searcher: Searcher, vectors: Vectors) -> NeighbourTable | None:
        """Returns a bundle's table; None when it has none.

        Raises:
            InputError: The files are no such table, or not of this index.
        """
        paths = (bundle / NEIGHBOURS_FILE, bundle / SCORES_FILE)
        if not any(path.exists() for path in paths):
            return None
        try:
            neighbours, scores = (np.load(path, "r", allow_pickle=False) for path in paths)
        except (OSError, ValueError) as error:
            raise InputError(f"{paths[0]}: expected a table of neighbours ({error})") from None
        items = len(vectors)
        shape = (items, min(WIDTH, items - 1))
        if (
            (neighbours.dtype, scores.dtype) != (np.int32, np.float32)
            or not neighbours.shape == scores.shape == shape
            or (items > 1 and not -1 <= neighbours.min() <= neighbours.max() < items)
        ):
            raise InputError(
                f"{paths[0]}: expected int32 and float32 {list(shape)} of positions in the index, "
                f"found {neighbours.dtype} {list(neighbours.shape)} and {scores.dtype} "
                f"{list(scores.shape)}"
            )
        _compare(neighbours, searcher, vectors, paths[0])
        return cls(neighbours, scores)

    @property
    def width(self) -> int:
        """How many neighbours a row holds."""
        return int(self._neighbours.shape[1])

    def row(self, position: int) -> tuple[Indices, Vectors]:
        """Returns an item's neighbours and their cosines, nearest first, padded with -1."""
        found: Indices = self._neighbours[position].astype(np.int64)
        return found, self._scores[position]


def _compare(
    neighbours: npt.NDArray[np.int32], searcher: Searcher, vectors: Vectors, path: Path
) -> None:
    """Refuses a table whose rows are not what a search finds.

    Raises:
        InputError: Fewer than half of them are.
    """
    items, width = neighbours.shape
    rows = np.unique(np.linspace(0, items - 1, min(_COMPARED, items)).astype(np.int64))
    found, _ = searcher.search(np.ascontiguousarray(vectors[rows]), width + 1)
    alike = np.mean(
        [
            len(set(one.tolist()) & set(neighbours[row].tolist())) / width
            for row, one in zip(rows, found, strict=True)
        ]
    )
    if alike < _LEAST_ALIKE:
        raise InputError(
            f"{path}: expected what a search finds, but only {alike:.0%} of "
            f"{len(rows)} rows are; the table is of another build"
        )
