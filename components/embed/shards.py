"""An output's Parquet shards: taken over whole, or put together of known and computed vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from components.contracts.embeddings import Vectors, to_table
from components.embed import known as known_vectors
from components.embed.known import Known
from components.embed.layout import Row, Shard, arrange, shard_key
from components.registry.kept import KeptFile


@dataclass
class Output:
    """One folder of shards to come.

    Attributes:
        name: The folder: `items`, `queries` or `queries_incumbent`.
        kept_as: What its shards are kept as: the incumbent's photos are photos, too.
        rows: What its vectors belong to.
        images: Where each row's image lies.
        known: The vectors of its encoder that need not be computed.
        shards: Which row lies in which shard.
        missing: Positions of the rows that must be computed.
        vectors: float32 `[rows, dim]`, on disk; rows of shards that are taken over stay empty.
        filled: Which rows have their vector.
    """

    name: str
    kept_as: str
    rows: Sequence[Row]
    images: Sequence[str]
    known: Known
    shards: list[Shard]
    missing: list[int]
    vectors: Vectors
    filled: npt.NDArray[np.bool_]

    @classmethod
    def plan(
        cls,
        name: str,
        *,
        kept_as: str,
        rows: Sequence[Row],
        images: Sequence[str],
        known: Known,
        dim: int,
        rows_per_shard: int,
        scratch: Path,
    ) -> Output:
        """Finds a place for every row, and fills in what is known."""
        before = known.shards.get(kept_as, [])
        shards = arrange(rows, [shard.rows for shard in before], rows_per_shard=rows_per_shard)
        vectors = np.lib.format.open_memmap(
            scratch / f"{name}.npy", mode="w+", dtype=np.float32, shape=(len(rows), dim)
        )
        filled = np.zeros(len(rows), np.bool_)
        wanted: dict[int, str] = {}
        missing: list[int] = []
        for shard in shards:
            for position in shard.rows:
                if shard.before is not None:
                    filled[position] = True
                elif rows[position].content_hash in known:
                    wanted[position] = rows[position].content_hash
                    filled[position] = True
                else:
                    missing.append(position)
        known.fill(vectors, wanted)
        return cls(name, kept_as, rows, images, known, shards, missing, vectors, filled)

    def add(self, positions: Sequence[int], vectors: Vectors) -> None:
        """Adds computed vectors, float32 `[positions, dim]`."""
        self.vectors[positions] = vectors
        self.filled[positions] = True

    @property
    def taken_over(self) -> int:
        """How many shards are those of an earlier run."""
        return sum(shard.before is not None for shard in self.shards)

    def write(self, directory: Path, *, encoder: str, limits: str) -> list[KeptFile]:
        """Writes the shards, each whole or not at all, and keeps them for the next run.

        Args:
            directory: The output's folder.
            encoder: The encoder's digest.
            limits: The bounds on images, as text.

        Returns:
            What is kept of them.
        """
        files: list[KeptFile] = []
        directory.mkdir(parents=True, exist_ok=True)
        for number, shard in enumerate(self.shards):
            positions = [position for position in shard.rows if self.filled[position]]
            if not positions:
                continue
            rows = [self.rows[position] for position in positions]
            key = shard_key(rows, encoder=encoder, limits=limits)
            path = directory / f"part-{number:05d}-{key[:16]}.parquet"
            if shard.before is not None:
                earlier = self.known.shards[self.kept_as][shard.before]
                known_vectors.copy(earlier, path)
                files.append(earlier.file)
                continue
            ids, hashes = [row.key for row in rows], [row.content_hash for row in rows]
            partial = path.with_suffix(".partial")
            pq.write_table(to_table(ids, hashes, self.vectors[positions]), partial)
            partial.replace(path)
            if self.known.kept:
                about = {"output": self.kept_as, "key": key, "rows": len(rows)}
                if kept := self.known.kept.put(path.read_bytes(), about):
                    files.append(kept)
        return files
