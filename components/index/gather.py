"""Joins a catalog's items with their embeddings, with the memory of one batch of vectors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.contracts import embeddings as embedding_files
from components.contracts.catalog import (
    ITEMS_FILE,
    STATISTICS_FILE,
    Item,
    iterate_items,
    write_items,
)
from components.contracts.embeddings import Embeddings, Vectors
from components.contracts.encoder import EncoderCard
from components.contracts.errors import InputError
from components.search.item_file import open_items
from components.search.retrieval import ITEM_IDS_FILE
from components.search.searcher import VECTORS_FILE, check_vectors, load_vectors

_IDS_KEPT = 20
# Of a content hash, so many hexadecimal digits tell two images of one id apart.
_HASH_DIGITS = 16


@dataclass(frozen=True)
class Gathered:
    """The items to index, as they lie in the bundle.

    Attributes:
        items: In index order.
        vectors: float32 `[items, dim]`, unit norm, memory-mapped.
        missing: How many items of the catalog have no embedding.
        first_missing: The ids of the first of them.
    """

    items: Sequence[Item]
    vectors: Vectors
    missing: int
    first_missing: tuple[str, ...]


def gather(checked: Path, embeddings: Path, card: EncoderCard, bundle: Path) -> Gathered:
    """Writes the items with an embedding, their ids and their vectors into the bundle.

    Args:
        checked: The checked catalog.
        embeddings: Parquet of the items' vectors.
        card: The encoder that made them.
        bundle: Existing directory to write into.

    Returns:
        What was written, in the catalog's order.

    Raises:
        InputError: The embeddings are of another catalog or encoder, a vector cannot be indexed,
            an id is there twice, or no item has an embedding.
    """
    dim = embedding_files.dimensions(embeddings)
    if dim != card.embedding_dim:
        raise InputError(
            f"{embeddings}: expected {card.embedding_dim} dimensions as the encoder says, found "
            f"{dim}"
        )
    catalog = _Catalog.read(checked / ITEMS_FILE)
    places = _places(embeddings, catalog)
    present = np.zeros(len(catalog), np.bool_)
    present[places] = True
    if not present.any():
        raise InputError(f"{embeddings}: none of the {len(catalog):,} items has an embedding")
    rows = np.cumsum(present) - 1

    _write_vectors(bundle / VECTORS_FILE, embeddings, rows[places], (int(present.sum()), dim))
    ids: list[str] = []
    missing: list[str] = []

    def kept() -> Iterator[Item]:
        for item, there in zip(iterate_items(checked / ITEMS_FILE), present, strict=True):
            (ids if there else missing).append(item.item_id)
            if there:
                yield item

    write_items(bundle / ITEMS_FILE, kept())
    # What the next run's catalog is compared with.
    if (checked / STATISTICS_FILE).is_file():
        shutil.copyfile(checked / STATISTICS_FILE, bundle / STATISTICS_FILE)
    np.save(bundle / ITEM_IDS_FILE, np.array(ids), allow_pickle=False)
    return Gathered(
        items=open_items(bundle / ITEMS_FILE),
        vectors=load_vectors(bundle),
        missing=len(missing),
        first_missing=tuple(missing[:_IDS_KEPT]),
    )


@dataclass(frozen=True)
class _Catalog:
    """What is needed of every item to find its vector."""

    positions: dict[str, int]
    hashes: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.positions)

    @classmethod
    def read(cls, path: Path) -> _Catalog:
        positions: dict[str, int] = {}
        hashes: list[int] = []
        for position, item in enumerate(iterate_items(path)):
            if positions.setdefault(item.item_id, position) != position:
                raise InputError(f"{path}: ids are unique, received twice: {item.item_id}")
            hashes.append(_short(item.content_hash))
        return cls(positions, np.array(hashes, np.uint64))


def _short(content_hash: str) -> int:
    try:
        return int(content_hash[:_HASH_DIGITS] or "0", 16)
    except ValueError:
        # Not a SHA-256: no image has it.
        return 0


def _places(embeddings: Path, catalog: _Catalog) -> npt.NDArray[np.int64]:
    """Returns int64 `[rows]`: the catalog's position of each embedding, in the files' order."""
    parts: list[npt.NDArray[np.int64]] = []
    seen = np.zeros(len(catalog), np.bool_)
    for batch in embedding_files.read_batches(embeddings):
        check_vectors(batch.vectors, batch.ids, minimum=0, source=str(embeddings))
        places = np.array([catalog.positions.get(key, -1) for key in batch.ids], np.int64)
        hashes = np.array([_short(one) for one in batch.content_hashes], np.uint64)
        known = places >= 0
        known[known] = catalog.hashes[places[known]] == hashes[known]
        _refuse_first(batch, ~known)
        again = seen[places]
        if again.any():
            key = batch.ids[int(np.flatnonzero(again)[0])]
            raise InputError(f"{embeddings}: ids are unique, received twice: {key}")
        seen[places] = True
        parts.append(places)
    return np.concatenate(parts)


def _refuse_first(batch: Embeddings, foreign: npt.NDArray[np.bool_]) -> None:
    if foreign.any():
        key = batch.ids[int(np.flatnonzero(foreign)[0])]
        raise InputError(
            f"embeddings of items: {key!r} is not in the checked catalog with this content; "
            "the embeddings were made from another catalog"
        )


def _write_vectors(
    path: Path, embeddings: Path, rows: npt.NDArray[np.int64], shape: tuple[int, int]
) -> None:
    """Writes each embedding into its row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    vectors = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    start = 0
    for batch in embedding_files.read_batches(embeddings):
        vectors[rows[start : start + len(batch)]] = batch.vectors
        start += len(batch)
    vectors.flush()
