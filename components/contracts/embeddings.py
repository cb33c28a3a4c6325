"""Embeddings between steps: Parquet of (id, content_hash, embedding)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from components.contracts.errors import InputError

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Embeddings:
    """Vectors with the ids they belong to.

    Attributes:
        ids: Item or query ids, one a row.
        content_hashes: SHA-256 of the image bytes behind each row.
        vectors: float32 of shape [rows, dim], unit norm.
    """

    ids: tuple[str, ...]
    content_hashes: tuple[str, ...]
    vectors: Vectors

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.ids)


def schema(dim: int) -> pa.Schema:
    """Returns the Parquet schema for vectors of `dim` dimensions."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("content_hash", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), dim), nullable=False),
        ]
    )


def to_table(ids: Sequence[str], content_hashes: Sequence[str], vectors: Vectors) -> pa.Table:
    """Returns the rows as an Arrow table.

    Args:
        ids: One a row.
        content_hashes: One a row.
        vectors: float32 of shape [rows, dim].
    """
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1), pa.float32())
    dim = int(vectors.shape[1])
    return pa.Table.from_arrays(
        [
            pa.array(ids, pa.string()),
            pa.array(content_hashes, pa.string()),
            pa.FixedSizeListArray.from_arrays(flat, dim),
        ],
        schema=schema(dim),
    )


def read(directory: Path) -> Embeddings:
    """Reads every Parquet shard of a directory, in the order of the shards' names.

    Raises:
        InputError: There is no shard, or the shards' dimensions differ.
    """
    batches = list(read_batches(directory))
    dim = batches[0].vectors.shape[1]
    vectors = np.concatenate([batch.vectors for batch in batches])
    return Embeddings(
        ids=tuple(key for batch in batches for key in batch.ids),
        content_hashes=tuple(key for batch in batches for key in batch.content_hashes),
        vectors=vectors.reshape(-1, dim),
    )


def dimensions(directory: Path) -> int:
    """Returns the dimensions of a directory's vectors, from the files' footers.

    Raises:
        InputError: There is no shard, or the shards' dimensions differ.
    """
    shards = sorted(directory.glob("*.parquet"))
    if not shards:
        raise InputError(f"{directory}: expected Parquet shards of embeddings, found none")
    dims = {pq.read_schema(shard).field("embedding").type.list_size for shard in shards}
    if len(dims) != 1:
        raise InputError(
            f"{directory}: the shards have {sorted(dims)} dimensions; one encoder gives one: "
            "were two encoders' outputs mixed?"
        )
    return int(dims.pop())


def read_batches(directory: Path, *, rows: int = 65_536) -> Iterator[Embeddings]:
    """Yields what `read` returns in pieces: a catalog's vectors may not fit in memory.

    Args:
        directory: Where the Parquet shards lie.
        rows: Most rows in a piece.

    Raises:
        InputError: There is no shard, or the shards' dimensions differ.
    """
    dim = dimensions(directory)
    empty = True
    for shard in sorted(directory.glob("*.parquet")):
        for batch in pq.ParquetFile(shard).iter_batches(batch_size=rows):
            empty = False
            flat = batch.column("embedding").flatten().to_numpy(zero_copy_only=False)
            yield Embeddings(
                ids=tuple(batch.column("id").to_pylist()),
                content_hashes=tuple(batch.column("content_hash").to_pylist()),
                vectors=np.ascontiguousarray(flat.reshape(-1, dim), dtype=np.float32),
            )
    if empty:
        yield Embeddings((), (), np.empty((0, dim), np.float32))
