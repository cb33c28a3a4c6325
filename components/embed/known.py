"""The vectors that need not be computed: kept by the last run, or indexed in the live version."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.contracts.embeddings import Vectors
from components.embed.layout import Row
from components.registry.kept import Kept, KeptFile, KeptList

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class KnownShard:
    """A whole shard of an earlier run.

    Attributes:
        file: What it is kept as.
        path: A checked copy of it on this machine.
        rows: What its vectors belong to, in order.
    """

    file: KeptFile
    path: Path
    rows: tuple[Row, ...]


@dataclass
class Known:
    """The known vectors of one encoder, found by the content hash of their image.

    Attributes:
        kept: Where the next run's are put; None for nowhere.
        about: Figures of the run that kept the shards.
        shards: Earlier shards by output.
        others: Kept files of outputs that this run does not make; they stay kept.
    """

    kept: Kept | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    shards: dict[str, list[KnownShard]] = field(default_factory=dict)
    others: list[KeptFile] = field(default_factory=list)
    _sources: list[Path] = field(default_factory=list)
    _places: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def open(cls, kept: Kept | None, *, dim: int, outputs: Sequence[str], scratch: Path) -> Known:
        """Fetches what the last run with the same encoder and limits kept.

        A shard that is gone or damaged counts for nothing; `kept.failures` says so.

        Args:
            kept: The store; None for none.
            dim: The encoder's dimensions.
            outputs: The outputs to come; shards of others are left where they are.
            scratch: Directory for the copies.
        """
        listed = kept.read() if kept else KeptList()
        known = cls(kept, listed.about)
        scratch.mkdir(parents=True, exist_ok=True)
        for file in listed.files:
            output = str(file.about.get("output"))
            if output not in outputs:
                known.others.append(file)
            elif kept and (shard := _fetch(kept, file, dim, scratch)):
                known.shards.setdefault(output, []).append(shard)
                known._add(shard.path, [row.content_hash for row in shard.rows])
        return known

    def add_index(self, vectors: Path, content_hashes: Sequence[str]) -> None:
        """Adds a live index's vectors.

        Args:
            vectors: npy file, float32 `[items, dim]`.
            content_hashes: Of the items' images, in its order.
        """
        self._add(vectors, content_hashes)

    def __contains__(self, content_hash: str) -> bool:
        """Whether the vector of an image is known."""
        return content_hash in self._places

    def fill(self, target: Vectors, wanted: Mapping[int, str]) -> None:
        """Writes known vectors into rows of `target`, one source after the other.

        Args:
            target: float32 `[rows, dim]`.
            wanted: Content hash by row; all of them are known.
        """
        by_source: dict[int, list[tuple[int, int]]] = {}
        for row, content_hash in wanted.items():
            source, place = self._places[content_hash]
            by_source.setdefault(source, []).append((row, place))
        for source, pairs in by_source.items():
            vectors = _vectors(self._sources[source])
            for start in range(0, len(pairs), _ROWS_AT_ONCE):
                rows, places = zip(*pairs[start : start + _ROWS_AT_ONCE], strict=True)
                target[list(rows)] = vectors[list(places)]

    def _add(self, source: Path, content_hashes: Sequence[str]) -> None:
        number = len(self._sources)
        self._sources.append(source)
        for place, content_hash in enumerate(content_hashes):
            self._places.setdefault(content_hash, (number, place))


def _fetch(kept: Kept, file: KeptFile, dim: int, scratch: Path) -> KnownShard | None:
    data = kept.fetch(file)
    if data is None:
        return None
    path = scratch / f"{file.sha256}.parquet"
    path.write_bytes(data)
    try:
        # The bytes are those that were written; what wrote them may have been another release.
        table = pq.read_table(path, columns=["id", "content_hash"])
        size = pq.read_schema(path).field("embedding").type.list_size
    except (pa.ArrowException, KeyError, AttributeError) as error:
        kept.failures.append(f"{file.sha256}: no shard of embeddings ({error})")
        return None
    if size != dim:
        kept.failures.append(f"{file.sha256}: expected {dim} dimensions, found {size}")
        return None
    ids, hashes = table.column("id").to_pylist(), table.column("content_hash").to_pylist()
    return KnownShard(file, path, tuple(Row(*pair) for pair in zip(ids, hashes, strict=True)))


def _vectors(source: Path) -> Vectors:
    if source.suffix == ".npy":
        return np.asarray(np.load(source, mmap_mode="r", allow_pickle=False))
    column = pq.read_table(source, columns=["embedding"]).column("embedding").combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(len(column), -1)


def copy(shard: KnownShard, target: Path) -> None:
    """Takes a whole shard over byte for byte."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(shard.path, target)
