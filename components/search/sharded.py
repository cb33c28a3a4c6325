"""An index in shards: a catalog larger than the memory to build it, searched as one.

Each shard indexes a run of positions. The k nearest of all are among the k nearest of each shard,
so that merging the shards' answers by score loses nothing that the shards have found.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from components.contracts.errors import InputError
from components.search.scann_backend import ScannSearcher
from components.search.searcher import (
    MIN_QUANTISED_POINTS,
    IndexParameters,
    Indices,
    Vectors,
    check_queries,
    empty_answer,
)


class ShardedSearcher:
    """Several ScaNN indexes behind one interface."""

    def __init__(
        self,
        shards: Sequence[ScannSearcher | Callable[[], ScannSearcher]],
        sizes: Sequence[int],
        parameters: IndexParameters,
        *,
        dim: int,
    ) -> None:
        """Joins shards.

        Args:
            shards: In the order of their positions. One that is a function is loaded by it for
                each search and dropped again, which needs the memory of one shard only.
            sizes: How many vectors each indexes.
            parameters: How each was built and searches.
            dim: Dimensions of a vector.
        """
        self._shards = tuple(shards)
        self._sizes = tuple(sizes)
        self._parameters = parameters
        self._dim = dim

    @property
    def parameters(self) -> IndexParameters:
        """How each shard was built and how it searches."""
        return self._parameters

    @property
    def shape(self) -> tuple[int, int]:
        """How many vectors are indexed, and their dimensions."""
        return sum(self._sizes), self._dim

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many vectors each shard indexes."""
        return self._sizes

    def search(self, vectors: Vectors, k: int) -> tuple[Indices, Vectors]:
        """See `components.search.searcher.Searcher.search`; equal scores stand by position."""
        check_queries(vectors, dim=self._dim, k=k)
        indices, scores = empty_answer(len(vectors), k)
        for offset, shard in self._loaded():
            found, values = shard.search(vectors, k)
            indices = np.concatenate([indices, np.where(found >= 0, found + offset, -1)], axis=1)
            scores = np.concatenate([scores, values], axis=1)
            # Stable: earlier shards, and so lower positions, come first; padding goes last.
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            indices = np.take_along_axis(indices, order, axis=1)
            scores = np.take_along_axis(scores, order, axis=1)
        return indices, scores

    def tuned(self, *, reorder: int, leaves_to_search: int) -> ShardedSearcher:
        """Returns a searcher over the same shards that searches with other settings."""

        def retune(shard: ScannSearcher) -> ScannSearcher:
            return shard.tuned(reorder=reorder, leaves_to_search=leaves_to_search)

        def later(load: Callable[[], ScannSearcher]) -> Callable[[], ScannSearcher]:
            return lambda: retune(load())

        shards = [
            retune(shard) if isinstance(shard, ScannSearcher) else later(shard)
            for shard in self._shards
        ]
        parameters = replace(self._parameters, reorder=reorder, leaves_to_search=leaves_to_search)
        return ShardedSearcher(shards, self._sizes, parameters, dim=self._dim)

    def save(self, directory: Path) -> None:
        """Writes each shard's files into a directory of its own."""
        for number, (_, shard) in enumerate(self._loaded()):
            shard.save(_made(shard_directory(directory, number)))

    def upserted(self, replaced: Indices, vectors: Vectors) -> ShardedSearcher:
        """Takes replaced and added vectors up, these into the last shard; see `growing.upsert`."""
        shards: list[ScannSearcher] = []
        sizes = []
        items = self.shape[0]
        for number, (offset, shard) in enumerate(self._loaded()):
            end = offset + self._sizes[number]
            own = replaced[(replaced >= offset) & (replaced < end)] - offset
            end = len(vectors) if end == items else end
            shards.append(shard.upserted(own, vectors[offset:end]))
            sizes.append(end - offset)
        return ShardedSearcher(shards, sizes, self._parameters, dim=self._dim)

    def deleted(self, order: Indices, vectors: Vectors) -> ShardedSearcher:
        """Takes vectors out; see `growing.delete`.

        Args:
            order: int64 `[items left]`: which old position stands where.
            vectors: float32 `[items left, dim]`.
        """
        shards: list[ScannSearcher] = []
        sizes = []
        for number, (offset, shard) in enumerate(self._loaded()):
            left = min(self._sizes[number], len(order) - offset)
            if left <= 0:
                break  # All that this shard held has moved forward or is gone.
            cut = shard.deleted(range(left, self._sizes[number]), np.arange(left))
            own = np.arange(offset, offset + left)
            changed = np.flatnonzero(order[offset : offset + left] != own)
            shards.append(cut.upserted(changed, vectors[offset : offset + left]))
            sizes.append(left)
        return ShardedSearcher(shards, sizes, self._parameters, dim=self._dim)

    def _loaded(self) -> Iterator[tuple[int, ScannSearcher]]:
        """Yields each shard with the position of its first vector."""
        offset = 0
        for shard, size in zip(self._shards, self._sizes, strict=True):
            if isinstance(shard, ScannSearcher):
                yield offset, shard
            else:
                yield offset, shard()
                # ScaNN's memory goes when the object does, which is before the next one comes.
                gc.collect()
            offset += size


def shard_sizes(items: int, most: int) -> list[int]:
    """Returns the sizes of as few shards as hold `items`, all as large as can be, even.

    Args:
        items: How many there are.
        most: Most in a shard.

    Raises:
        InputError: A shard would be too small to be quantised.
    """
    if most < 2 * MIN_QUANTISED_POINTS:
        raise InputError(
            f"index.shard_items: expected at least {2 * MIN_QUANTISED_POINTS}, received {most}"
        )
    count = -(-items // most)
    return [items // count + (number < items % count) for number in range(count)]


def build_shards(
    vectors: Vectors,
    parameters: IndexParameters,
    sizes: Sequence[int],
    directory: Path,
    *,
    built: Callable[[], None] = lambda: None,
) -> None:
    """Builds shard after shard into a directory, with the memory of one.

    Args:
        vectors: float32 `[items, dim]`, unit norm, checked; memory-mapped where they are many.
        parameters: How each is built.
        sizes: How many vectors each indexes.
        directory: Where each shard gets a directory of its own.
        built: Called after each shard.
    """
    offset = 0
    for number, size in enumerate(sizes):
        shard = ScannSearcher.build(vectors[offset : offset + size], parameters)
        shard.save(_made(shard_directory(directory, number)))
        offset += size
        del shard
        gc.collect()
        built()


def load_shards(
    directory: Path,
    parameters: IndexParameters,
    sizes: Sequence[int],
    *,
    dim: int,
    resident: bool,
) -> ShardedSearcher:
    """Loads what `build_shards` wrote.

    Args:
        directory: Where the shards' directories lie.
        parameters: How each was built and searches.
        sizes: How many vectors each indexes.
        dim: Dimensions of a vector.
        resident: Whether all shards stay in memory, as for serving; when not, each search loads
            one after the other.

    Raises:
        InputError: Files are missing, damaged or belong to other vectors.
    """
    present = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    expected = [shard_directory(directory, number).name for number in range(len(sizes))]
    if present != expected:
        raise InputError(
            f"{directory}: expected the shards {', '.join(expected)}, found "
            f"{', '.join(present) or 'nothing'}"
        )

    def loader(number: int) -> Callable[[], ScannSearcher]:
        path, size = shard_directory(directory, number), sizes[number]
        return lambda: ScannSearcher.load(path, parameters, shape=(size, dim))

    loaders = [loader(number) for number in range(len(sizes))]
    shards = [load() for load in loaders] if resident else loaders
    return ShardedSearcher(shards, sizes, parameters, dim=dim)


def shard_directory(directory: Path, number: int) -> Path:
    """Returns where a shard's files lie."""
    return directory / f"{number:04d}"


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory
