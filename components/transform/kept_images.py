"""The images that an earlier run has decoded: kept in Parquet, found by their content hash."""

from __future__ import annotations

import inspect
import io
import json
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from components.contracts import image_structure, images
from components.contracts.files import sha256_bytes
from components.registry.kept import Kept, KeptFile
from components.registry.object_store import open_store
from components.transform import graph
from components.transform.config import TransformConfig

KIND = "examples"
_SCHEMA = pa.schema(
    [
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("background", pa.binary(), nullable=False),
        pa.field("sums", pa.list_(pa.int64(), 6), nullable=False),
    ]
)


@dataclass(frozen=True)
class Decoded:
    """What the preprocessing graph makes of one image.

    Attributes:
        image: Its uint8 pixels `[S, S, 3]` as bytes.
        background: uint8 `[S, S]` as bytes, 255 where the white around the product is.
        sums: Of red, green, blue over its pixels, and of their squares: whole numbers, so that
            statistics hang on no order of adding.
    """

    image: bytes
    background: bytes
    sums: tuple[int, ...]


def graph_key(config: TransformConfig) -> str:
    """Returns a digest of all that a decoded image hangs on beside its bytes."""
    parts = {
        "size": config.stored_size,
        "background": [config.background_white, config.halo_white],
        "limits": asdict(config.image_limits),
        "code": [inspect.getsource(module) for module in (graph, images, image_structure)],
        "versions": [tf.__version__, PIL.__version__],
    }
    return sha256_bytes(json.dumps(parts, sort_keys=True).encode())[:32]


def open_kept(registry: str, key: str) -> Kept | None:
    """Returns where decoded images are kept; None where there is no registry."""
    return Kept(open_store(registry), kind=KIND, key=key) if registry else None


def write_rows(rows: Sequence[tuple[str, Decoded]]) -> bytes:
    """Returns (content hash, decoded image) pairs as a Parquet file."""
    sums = pa.array([value for _, one in rows for value in one.sums], pa.int64())
    table = pa.Table.from_arrays(
        [
            pa.array([content_hash for content_hash, _ in rows], pa.string()),
            pa.array([one.image for _, one in rows], pa.binary()),
            # One bit a pixel.
            pa.array([_packed(one.background) for _, one in rows], pa.binary()),
            pa.FixedSizeListArray.from_arrays(sums, 6),
        ],
        schema=_SCHEMA,
    )
    buffer = io.BytesIO()
    # Pixels repeat themselves in no way that a dictionary finds; zstd halves product images.
    pq.write_table(table, buffer, compression="zstd", use_dictionary=False)
    return buffer.getvalue()


def read_rows(data: bytes, *, size: int, wanted: Container[str]) -> dict[str, Decoded]:
    """Returns what `write_rows` wrote, by content hash.

    Args:
        data: The file.
        size: Side of the images, in pixels.
        wanted: Content hashes; other rows are passed over.
    """
    table = pq.read_table(io.BytesIO(data), schema=_SCHEMA)
    hashes = table.column("content_hash").to_pylist()
    table = table.filter(pa.array([one in wanted for one in hashes], pa.bool_()))
    sums = table.column("sums").combine_chunks().flatten().to_numpy().reshape(-1, 6).tolist()
    columns = [table.column(name).to_pylist() for name in ("content_hash", "image", "background")]
    return {
        content_hash: Decoded(image, _unpacked(background, size * size), tuple(six))
        for content_hash, image, background, six in zip(*columns, sums, strict=True)
    }


def sums_of(image: np.ndarray[Any, np.dtype[np.uint8]]) -> tuple[int, ...]:
    """Returns the sums of an image `[S, S, 3]` per channel, and of the squares."""
    # Exact: a square is below 2^16, and an image has far fewer than 2^37 pixels.
    pixels = image.reshape(-1, 3).astype(np.float64)
    sums = np.ones(len(pixels)) @ pixels
    # One product of matrices takes a third of the time that squaring and adding does.
    squares = (pixels.T @ pixels).diagonal()
    return (*map(int, sums), *map(int, squares))


def total(sums: Iterable[Sequence[int]]) -> list[int]:
    """Adds the sums of many images, or of many shards."""
    added = [0] * 6
    for one in sums:
        added = [left + right for left, right in zip(added, one, strict=True)]
    return added


def overlapping(files: Iterable[KeptFile], split: str, first: str, last: str) -> list[KeptFile]:
    """Returns the files that may hold a split's items from `first` to `last` in the order."""
    return [
        file
        for file in files
        if file.about["split"] == split
        and file.about["first"] <= last
        and file.about["last"] >= first
    ]


def _packed(background: bytes) -> bytes:
    return np.packbits(np.frombuffer(background, np.uint8) > 0).tobytes()


def _unpacked(bits: bytes, count: int) -> bytes:
    values = np.unpackbits(np.frombuffer(bits, np.uint8), count=count)
    return (values * np.uint8(255)).tobytes()
