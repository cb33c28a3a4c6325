"""Which vector lies in which shard: what was there yesterday stays where it was.

A shard of the last run whose rows are all the same today is taken over byte for byte, so today's
new items must not be strewn over all of them (as a hash of the id would). They fill shards of
their own; shards that have become small are put together with them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from components.contracts.files import sha256_bytes


@dataclass(frozen=True)
class Row:
    """What a vector belongs to.

    Attributes:
        key: The item's or query's id.
        content_hash: SHA-256 of the image's bytes.
    """

    key: str
    content_hash: str


@dataclass(frozen=True)
class Shard:
    """One Parquet file to come.

    Attributes:
        rows: Positions in today's rows, in the order of the ids.
        before: Number of the earlier shard that holds these very rows; None where it is made anew.
    """

    rows: tuple[int, ...]
    before: int | None = None


def arrange(
    rows: Sequence[Row], before: Sequence[Sequence[Row]], *, rows_per_shard: int
) -> list[Shard]:
    """Divides today's rows among shards.

    - A row whose id was in an earlier shard stays there, also when its image is another one now.
    - An earlier shard that would hold less than half of `rows_per_shard`, or more than all of it,
      is dissolved: so there are never more than about twice as many shards as are needed.
    - What has no place then is put in shards of its own, ordered by id.

    Args:
        rows: Today's, with unique keys.
        before: The rows of each earlier shard.
        rows_per_shard: Most rows in one shard.
    """
    place = {row.key: position for position, row in enumerate(rows)}
    shards: list[Shard] = []
    dissolved: dict[tuple[Row, ...], int] = {}
    for number, earlier in enumerate(before):
        stay = sorted(row.key for row in earlier if row.key in place)
        if rows_per_shard // 2 <= len(stay) <= rows_per_shard:
            positions = tuple(place.pop(key) for key in stay)
            same = _rows(rows, positions) == tuple(earlier)
            shards.append(Shard(positions, number if same else None))
        else:
            dissolved[tuple(earlier)] = number
    loose = [position for _, position in sorted(place.items())]
    pieces = -(-len(loose) // rows_per_shard)
    for piece in range(pieces):
        start, end = len(loose) * piece // pieces, len(loose) * (piece + 1) // pieces
        positions = tuple(loose[start:end])
        # A small shard that nothing was added to is the one that it was.
        shards.append(Shard(positions, dissolved.get(_rows(rows, positions))))
    return shards


def _rows(rows: Sequence[Row], positions: Sequence[int]) -> tuple[Row, ...]:
    return tuple(rows[position] for position in positions)


def shard_key(rows: Sequence[Row], *, encoder: str, limits: str) -> str:
    """Returns a digest of all that a shard's content hangs on.

    The number of shards is not part of it: a shard stays what it is when others come.

    Args:
        rows: Its rows in order.
        encoder: The encoder's digest.
        limits: The bounds on images, as text.
    """
    parts = [encoder, limits, [[row.key, row.content_hash] for row in rows]]
    return sha256_bytes(json.dumps(parts).encode())
