"""Embeddings between steps: Parquet of (id, content_hash, embedding)."""

from __future__ import annotations

from collections.abc import Sequence
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
    shards = sorted(directory.glob("*.parquet"))
    if not shards:
        raise InputError(f"{directory}: expected Parquet shards of embeddings, found none")
    tables = [pq.read_table(shard) for shard in shards]
    dims = {table.schema.field("embedding").type.list_size for table in tables}
    if len(dims) != 1:
        raise InputError(
            f"{directory}: the shards have {sorted(dims)} dimensions; one encoder gives one: "
            "were two encoders' outputs mixed?"
        )
    table = pa.concat_tables(tables)
    dim = dims.pop()
    column = table.column("embedding").combine_chunks()
    vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return Embeddings(
        ids=tuple(table.column("id").to_pylist()),
        content_hashes=tuple(table.column("content_hash").to_pylist()),
        vectors=np.ascontiguousarray(vectors, dtype=np.float32),
    )
