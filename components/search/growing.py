"""Changing a built index: vectors added, replaced and taken out, without training anew.

Quantisation and partitions stay as they were trained, so that recall sinks slowly as the catalog
moves away from them: measure it again after each change, and `rebalance` (train anew) past a limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from components.contracts.errors import InputError
from components.search import searcher as search
from components.search.searcher import ExactSearcher, Indices, Searcher, Vectors, check_vectors


@dataclass(frozen=True)
class Grown:
    """An index after a change.

    Attributes:
        searcher: Over the vectors below. The searcher that was given may be the same object,
            changed: use this one only.
        vectors: float32 `[items, dim]`, unit norm, a new array.
        order: int64 `[items]`: where each vector stood before the change, -1 for what is new.
    """

    searcher: Searcher
    vectors: Vectors
    order: Indices


def upsert(
    searcher: Searcher, vectors: Vectors, positions: Sequence[int | None], rows: Vectors
) -> Grown:
    """Replaces vectors and adds new ones at the end.

    Nothing is changed when anything is wrong: a half-done change would leave vectors and index
    apart, and a NaN inside ScaNN ends the whole process.

    Args:
        searcher: Built over `vectors`; not being searched by anyone else.
        vectors: float32 `[items, dim]`.
        positions: For each row the position it replaces, None to add it.
        rows: float32 `[len(positions), dim]`, unit norm.

    Returns:
        The index with the rows; added ones stand at the end in the order given, and
        replaced ones keep their position (`order` is -1 for both: their vector is new).

    Raises:
        InputError: A row cannot be indexed, or a position is unknown or named twice.
    """
    items, dim = _check_index(searcher, vectors)
    if len(positions) != len(rows):
        raise InputError(
            f"upsert: expected one position a row, received {len(positions)} for {len(rows)} rows"
        )
    check_vectors(rows, minimum=0, source="upsert")
    if rows.shape[1] != dim:
        raise InputError(
            f"upsert: expected vectors of {dim} dimensions, received {rows.shape[1]}; were they "
            "embedded by another encoder?"
        )
    replaced = [(at, row) for row, at in enumerate(positions) if at is not None]
    added = [row for row, at in enumerate(positions) if at is None]
    _check_positions([at for at, _ in replaced], items, action="upsert")
    at = np.array([position for position, _ in replaced], np.int64)
    after = np.concatenate([vectors, rows[added]])
    after[at] = rows[[row for _, row in replaced]]
    order = np.concatenate([np.arange(items), np.full(len(added), -1)])
    order[at] = -1
    if isinstance(searcher, ExactSearcher):
        return Grown(ExactSearcher(after), after, order)
    from components.search.scann_backend import ScannSearcher  # noqa: PLC0415
    from components.search.sharded import ShardedSearcher  # noqa: PLC0415

    if not isinstance(searcher, ScannSearcher | ShardedSearcher):
        raise _unsupported(searcher)
    return Grown(searcher.upserted(at, after), after, order)


def delete(searcher: Searcher, vectors: Vectors, positions: Sequence[int]) -> Grown:
    """Takes vectors out; the last ones move into the gaps.

    Args:
        searcher: Built over `vectors`; not being searched by anyone else.
        vectors: float32 `[items, dim]`.
        positions: What to take out.

    Returns:
        The index without them; `order` says which vector stands where now.

    Raises:
        InputError: A position is unknown or named twice, or nothing would be left.
    """
    items, _ = _check_index(searcher, vectors)
    _check_positions(positions, items, action="delete")
    if len(positions) >= items:
        raise InputError(
            f"delete: expected at least one vector to stay, received all {items}; an index "
            "without items cannot be served"
        )
    order = order_after_delete(items, positions)
    after = np.ascontiguousarray(vectors[order])
    if isinstance(searcher, ExactSearcher):
        return Grown(ExactSearcher(after), after, order)
    from components.search.scann_backend import ScannSearcher  # noqa: PLC0415
    from components.search.sharded import ShardedSearcher  # noqa: PLC0415

    if isinstance(searcher, ShardedSearcher):
        return Grown(searcher.deleted(order, after), after, order)
    if not isinstance(searcher, ScannSearcher):
        raise _unsupported(searcher)
    return Grown(searcher.deleted(positions, order), after, order)


def rebalance(searcher: Searcher, vectors: Vectors) -> Searcher:
    """Trains quantisation and partitions anew with the parameters that the index was built with.

    Args:
        searcher: Built over `vectors`.
        vectors: float32 `[items, dim]`, unit norm.

    Raises:
        InputError: The vectors have become too few for the backend.
    """
    items, _ = _check_index(searcher, vectors)
    parameters = searcher.parameters
    from components.search.sharded import ShardedSearcher  # noqa: PLC0415

    if isinstance(searcher, ShardedSearcher):
        raise InputError("index: an index in shards is trained anew by the index step")
    if parameters.backend == "tree_ah":
        # A catalog that has shrunk cannot fill the partitions it had.
        leaves = max(1, min(parameters.leaves, items // 4))
        parameters = replace(
            parameters, leaves=leaves, leaves_to_search=min(parameters.leaves_to_search, leaves)
        )
    return search.build(vectors, parameters)


def order_after_delete(items: int, positions: Sequence[int]) -> Indices:
    """Returns int64 `[items - len(positions)]`: which old position stands where.

    The highest position goes first, and each gap takes what stands last then.
    """
    order = np.arange(items)
    last = items
    for position in sorted(positions, reverse=True):
        last -= 1
        order[position] = order[last]
    return order[:last]


def _check_index(searcher: Searcher, vectors: Vectors) -> tuple[int, int]:
    if searcher.shape != vectors.shape:
        raise InputError(
            f"index: expected the vectors that the searcher was built over, "
            f"{list(searcher.shape)}, received {list(vectors.shape)}"
        )
    return searcher.shape


def _check_positions(positions: Sequence[int], items: int, *, action: str) -> None:
    outside = [position for position in positions if not 0 <= position < items]
    if outside:
        raise InputError(
            f"{action}: expected positions from 0 to {items - 1}, received {outside[0]}"
        )
    if len(set(positions)) != len(positions):
        raise InputError(f"{action}: expected each position once, received one of them twice")


def _unsupported(searcher: Searcher) -> InputError:
    return InputError(
        f"index: a {type(searcher).__name__} cannot be changed in place; rebuild the index"
    )
