"""Golden queries: a loaded bundle must answer them as it did when it was built."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.contracts.errors import InputError
from components.contracts.files import read_json
from components.contracts.images import BadImageError, admit
from components.search.query import Found
from components.search.searcher import Vectors
from serving.encoder import Encode
from serving.item_table import ItemTable

QUERIES_FILE = "golden/queries.npy"
ANSWERS_FILE = "golden/answers.json"
# Sums are added up in another order on another processor or in another batch: cosines move by
# about 1e-6, and items that are as good as equal change places.
SCORE_TOLERANCE = 1e-4
# Cosine between a photo's recorded vector and the one it gets now. JPEG decoders may differ by a
# grey level between machines; another encoder is at home below 0.9.
VECTOR_COSINE = 0.999
# Rows of the table of neighbours that are searched for again; another build's agree in none.
_ROWS_COMPARED = 50


@dataclass(frozen=True)
class GoldenQuery:
    """A recorded question with its answer.

    Attributes:
        name: The query's or item's id.
        vector: float32 `[1, dim]`, unit norm.
        photo: Path of the photo behind the vector, when the bundle keeps it.
        item_ids: The recorded item ids, best first.
        scores: The recorded cosines, in the same order.
    """

    name: str
    vector: Vectors
    photo: Path | None
    item_ids: tuple[str, ...]
    scores: tuple[float, ...]


def read(bundle: Path) -> list[GoldenQuery]:
    """Reads a bundle's golden queries.

    Raises:
        InputError: There are none, or queries and answers do not belong together.
    """
    path = bundle / ANSWERS_FILE
    content = read_json(path)
    try:
        vectors = np.load(bundle / QUERIES_FILE, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{bundle / QUERIES_FILE}: expected npy vectors ({error})") from None
    try:
        records = content["queries"]
        queries = [
            GoldenQuery(
                name=str(record["query_id"]),
                vector=vectors[row : row + 1],
                photo=bundle / record["image"] if record["image"] else None,
                item_ids=tuple(map(str, record["item_ids"])),
                scores=tuple(map(float, record["scores"])),
            )
            for row, record in enumerate(records)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: expected queries with query_id, image, item_ids and scores ({error!r})"
        ) from None
    if not queries or len(queries) != len(vectors):
        raise InputError(
            f"{path}: expected one answer for each of at least one golden query, found "
            f"{len(queries)} answers for {len(vectors)} queries"
        )
    return queries


def check_answers(
    ask: Callable[[Vectors, int], Found], items: ItemTable, queries: Sequence[GoldenQuery]
) -> float:
    """Asks the golden queries, one at a time: that is the path that requests take.

    Args:
        ask: Answers a vector with so many results.
        items: The bundle's items.
        queries: At least one.

    Returns:
        The median time of an answer, in seconds.

    Raises:
        InputError: An answer differs from the recorded one by more than rounding.
    """
    seconds = []
    for query in queries:
        started = time.perf_counter()
        found = ask(query.vector, max(1, len(query.item_ids)))
        seconds.append(time.perf_counter() - started)
        item_ids = [items.ids[position] for position in found.positions]
        problem = _difference(item_ids, found.scores, query.item_ids, query.scores)
        if problem:
            raise InputError(
                f"golden query {query.name}: {problem}; the index does not answer as it did when "
                "it was built"
            )
    return statistics.median(seconds)


def check_neighbours(
    known: Callable[[int], Found | None], search: Callable[[int], Found], items: ItemTable
) -> None:
    """Compares some rows of a bundle's table of neighbours with what a search finds.

    Args:
        known: Answers what looks like the item at a position from the table, if the table can.
        search: Answers it by a search.
        items: The bundle's items.

    Raises:
        InputError: An answer differs by more than rounding.
    """
    for position in np.unique(np.linspace(0, len(items) - 1, _ROWS_COMPARED).astype(int)).tolist():
        if (row := known(position)) is None:
            continue
        found = search(position)
        ids, recorded = ([items.ids[one] for one in f.positions] for f in (found, row))
        name = items.ids[position]
        if problem := _difference(ids, found.scores, recorded, row.scores):
            raise InputError(
                f"neighbours of item {name}: a search differs from the bundle's table, {problem}; "
                "the table is not of this index"
            )


def check_encoder(encode: Encode, queries: Sequence[GoldenQuery]) -> int:
    """Embeds the golden photos again, which also warms the encoder up.

    Returns:
        How many photos there were.

    Raises:
        InputError: A photo gets another vector than it got when the bundle was built.
    """
    asked = 0
    for query in queries:
        if query.photo is None:
            continue
        try:
            vector = encode([admit(query.photo.read_bytes())])
        except (BadImageError, OSError) as error:
            raise InputError(f"golden query {query.name}: {query.photo.name}: {error}") from None
        cosine = float(vector[0] @ query.vector[0])
        if not cosine >= VECTOR_COSINE:
            raise InputError(
                f"golden query {query.name}: expected the photo's vector as it was when the bundle "
                f"was built (cosine at least {VECTOR_COSINE}), received cosine {cosine:.4f}; the "
                "encoder is not the one that the index was built with"
            )
        asked += 1
    return asked


def _difference(
    item_ids: Sequence[str],
    scores: Sequence[float],
    known_ids: Sequence[str],
    known_scores: Sequence[float],
) -> str:
    """Returns how an answer differs from the recorded one; empty when it does not."""
    if len(item_ids) != len(known_ids):
        return f"expected {len(known_ids)} items, received {len(item_ids)}"
    for place, (known, received) in enumerate(zip(known_scores, scores, strict=True), start=1):
        if not abs(known - received) <= SCORE_TOLERANCE:
            return f"place {place}: expected the score {known:.5f}, received {received:.5f}"
    recorded = dict(zip(known_ids, known_scores, strict=True))
    last = min(known_scores, default=0.0)
    for item_id, score in zip(item_ids, scores, strict=True):
        # An item that was not recorded may only have been level with the last one that was.
        if not abs(score - recorded.get(item_id, last)) <= SCORE_TOLERANCE:
            return f"received {item_id!r} with {score:.5f}, which was not recorded so"
    return ""
