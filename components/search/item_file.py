"""A bundle's items, in memory or, when there are very many, read from their file as needed."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from components.contracts.catalog import Item, iterate_items, read_items
from components.contracts.errors import InputError

# An item takes about a kilobyte in memory, three times what its line takes in the file.
_MOST_IN_MEMORY = 128 * 1024 * 1024
_BLOCK = 16 * 1024 * 1024


def open_items(path: Path) -> Sequence[Item]:
    """Returns the items of a bundle in index order.

    Raises:
        InputError: The file is missing or holds something else.
    """
    if path.is_file() and path.stat().st_size > _MOST_IN_MEMORY:
        return ItemFile(path)
    return tuple(read_items(path))


def _line_ends(path: Path) -> Iterator[npt.NDArray[np.int64]]:
    """Yields where lines end, block by block: the map itself would be in memory all at once."""
    start = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
            yield ends.astype(np.int64) + (start + 1)
            start += len(block)


class ItemFile(Sequence[Item]):
    """Items that stay in their file; each access reads its line."""

    def __init__(self, path: Path) -> None:
        """Finds where each line begins.

        Raises:
            InputError: The file is missing or empty.
        """
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: expected a JSON-lines file of items ({error})") from None
        self._path = path
        self._starts = np.concatenate([np.zeros(1, np.int64), *_line_ends(path)])

    def __len__(self) -> int:
        """How many items there are."""
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[Item]:
        """Yields the items in order."""
        return iterate_items(self._path)

    @overload
    def __getitem__(self, position: int) -> Item: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Item]: ...
    def __getitem__(self, position: int | slice) -> Item | Sequence[Item]:
        """Returns an item, or several."""
        if isinstance(position, slice):
            return tuple(self[one] for one in range(*position.indices(len(self))))
        at = position + len(self) if position < 0 else position
        if not 0 <= at < len(self):
            raise IndexError(position)
        line = self._data[int(self._starts[at]) : int(self._starts[at + 1])]
        try:
            return Item(**json.loads(line))
        except (TypeError, ValueError) as error:
            raise InputError(f"{self._path}, line {at + 1}: {error}") from None
