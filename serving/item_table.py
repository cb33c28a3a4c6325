"""A bundle's items, parsed when they are asked for.

A million `Item` objects would take a gigabyte and ten seconds in which every other thread waits
for the interpreter. What every query needs stands in columns; the rest stays in the file, mapped
into memory and shared by the server's processes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import msgspec
import numpy as np
import numpy.typing as npt

from components.contracts.catalog import Item
from components.contracts.errors import InputError

_NEWLINE = 10


class _Key(msgspec.Struct, gc=False):
    """What the columns are made of."""

    item_id: str
    product_id: str
    taxon_id: str


class ItemTable(Sequence[Item]):
    """The items of a bundle in index order.

    Attributes:
        ids: Every item's id.
        products: int32 `[items]`: a number for each product.
        taxa: int32 `[items]`: where `taxon_ids` has the item's label.
        taxon_ids: The labels that occur.
    """

    def __init__(self, path: Path) -> None:
        """Reads the columns of an `items.jsonl`.

        Raises:
            InputError: The file is missing, a line is no item, or an id stands there twice.
        """
        self._path = path
        self._data, self._ends = _lines(path)
        self._item = msgspec.json.Decoder(Item)
        self.ids: list[str] = []
        products: dict[str, int] = {}
        taxa: dict[str, int] = {}
        product_of, taxon_of = [], []
        decode = msgspec.json.Decoder(_Key).decode
        start = 0
        for number, end in enumerate(self._ends.tolist(), start=1):
            try:
                key = decode(self._data[start:end])
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise InputError(f"{path}, line {number}: expected an item ({error})") from None
            self.ids.append(key.item_id)
            product_of.append(products.setdefault(key.product_id, len(products)))
            taxon_of.append(taxa.setdefault(key.taxon_id, len(taxa)))
            start = end
        self.products: npt.NDArray[np.int32] = np.asarray(product_of, np.int32)
        self.taxa: npt.NDArray[np.int32] = np.asarray(taxon_of, np.int32)
        self.taxon_ids = tuple(taxa)
        self._positions = {item_id: number for number, item_id in enumerate(self.ids)}
        if len(self._positions) < len(self.ids):
            raise InputError(f"{path}: expected every item once, found an id twice")

    def __len__(self) -> int:
        """How many items there are."""
        return len(self.ids)

    @overload
    def __getitem__(self, position: int) -> Item: ...

    @overload
    def __getitem__(self, position: slice) -> list[Item]: ...

    def __getitem__(self, position: int | slice) -> Item | list[Item]:
        """Returns the item at a position, or those of a slice.

        Raises:
            InputError: The line has fields of another type than an item's.
        """
        if isinstance(position, slice):
            return [self[number] for number in range(*position.indices(len(self)))]
        if position < 0:
            position += len(self)
        start = int(self._ends[position - 1]) if position else 0
        try:
            return self._item.decode(self._data[start : self._ends[position]])
        except msgspec.MsgspecError as error:
            raise InputError(
                f"{self._path}, line {position + 1}: expected an item ({error})"
            ) from None

    def __iter__(self) -> Iterator[Item]:
        """Parses one item after the other."""
        return (self[number] for number in range(len(self)))

    def __contains__(self, item_id: object) -> bool:
        """Whether there is an item with this id."""
        return item_id in self._positions

    def position(self, item_id: str) -> int | None:
        """Returns where an item stands, or None when there is none."""
        return self._positions.get(item_id)

    @property
    def size(self) -> int:
        """How many bytes all lines have together."""
        return len(self._data)

    def text(self, start: int, stop: int) -> bytes:
        """Returns a stretch of the lines as they stand in the file."""
        return self._data[start:stop]

    def line_at(self, offset: int) -> int:
        """Returns the position of the item whose line holds a byte of the file."""
        return int(np.searchsorted(self._ends, offset, side="right"))

    def of_product(self, position: int) -> list[int]:
        """Returns the positions of all images of an item's product, its own among them."""
        return np.flatnonzero(self.products == self.products[position]).tolist()


def _lines(path: Path) -> tuple[mmap.mmap | bytes, npt.NDArray[np.int64]]:
    """Returns a file's bytes, and int64 `[lines]`: where each line ends, the newline included."""
    try:
        with path.open("rb") as file:
            # An empty file cannot be mapped.
            if not path.stat().st_size:
                return b"", np.empty(0, np.int64)
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise InputError(f"{path}: the items cannot be read ({error.strerror})") from None
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE) + 1
    if not len(ends) or ends[-1] != len(data):
        ends = np.append(ends, len(data))
    return data, ends.astype(np.int64)
