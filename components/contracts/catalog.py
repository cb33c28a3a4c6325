"""The checked catalog: one record an item, one a query photo, one a reject."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar

from components.contracts.errors import InputError
from components.contracts.files import read_json_lines, write_json_lines

ITEMS_FILE = "items.jsonl"
STATISTICS_FILE = "statistics.json"
QUERIES_FILE = "queries.jsonl"
TAXONOMY_FILE = "taxonomy.csv"
REJECTS_FILE = "rejects.jsonl"
SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class Item:
    """One catalog image that passed the checks.

    Attributes:
        item_id: Unique in the catalog.
        image: Absolute path or URI of the image.
        content_hash: SHA-256 of the image's bytes.
        taxon_id: The label: a leaf, or the deepest node that the votes agree on; the root's id
            when nothing is known.
        product_id: Shared by the images of one product; the item's own id when the table has none.
        title: What people read.
        traffic: Non-negative weight of the item as a query.
        label_source: `curated`, `crowd` or `none`.
        label_confidence: Probability in [0, 1] that the label is right, 1 for curated labels.
        attributes: Any further columns of the table.
    """

    item_id: str
    image: str
    content_hash: str
    taxon_id: str
    product_id: str
    title: str = ""
    traffic: float = 1.0
    label_source: str = "curated"
    label_confidence: float = 1.0
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """One shopper photo with its known answer.

    Attributes:
        query_id: Unique among the queries.
        image: Absolute path or URI of the photo.
        content_hash: SHA-256 of the photo's bytes.
        product_id: The product that the photo shows; empty when unknown.
        taxon_id: The leaf that the photo shows.
    """

    query_id: str
    image: str
    content_hash: str
    product_id: str
    taxon_id: str


@dataclass(frozen=True)
class Reject:
    """Something set aside, with its reason.

    Attributes:
        kind: `item`, `query`, `vote` or `image`.
        key: The id of what was set aside, as far as it is known.
        source: The file it stands in.
        row: The row in that file (the header is row 1); 0 where a row has no meaning.
        reason: A stable short word, such as `missing_image`, to count by.
        detail: What was expected and what came, for people.
    """

    kind: str
    key: str
    source: str
    row: int
    reason: str
    detail: str


Record = TypeVar("Record", Item, Query, Reject)


def _write(path: Path, records: Iterable[Item | Query | Reject]) -> int:
    # `asdict` would copy each record field by field, which costs more than writing it.
    return write_json_lines(path, (vars(record) for record in records))


def _read(kind: type[Record], path: Path) -> list[Record]:
    return list(_iterate(kind, path))


def _iterate(kind: type[Record], path: Path) -> Iterator[Record]:
    known = {entry.name for entry in fields(kind)}
    for number, record in enumerate(read_json_lines(path), start=1):
        unknown = sorted(set(record) - known)
        if unknown:
            raise InputError(
                f"{path}, line {number}: unknown field {unknown[0]!r}; expected "
                f"{', '.join(sorted(known))}"
            )
        try:
            yield kind(**record)
        except TypeError as error:
            raise InputError(f"{path}, line {number}: {error}") from None


def write_items(path: Path, items: Iterable[Item]) -> int:
    """Writes items as JSON lines; returns how many."""
    return _write(path, items)


def read_items(path: Path) -> list[Item]:
    """Reads what `write_items` wrote."""
    return _read(Item, path)


def iterate_items(path: Path) -> Iterator[Item]:
    """Yields what `write_items` wrote, one after the other: a catalog may not fit in memory."""
    return _iterate(Item, path)


def write_queries(path: Path, queries: Iterable[Query]) -> int:
    """Writes queries as JSON lines; returns how many."""
    return _write(path, queries)


def read_queries(path: Path) -> list[Query]:
    """Reads what `write_queries` wrote."""
    return _read(Query, path)


def write_rejects(path: Path, rejects: Iterable[Reject]) -> int:
    """Writes rejects as JSON lines; returns how many."""
    return _write(path, rejects)


def read_rejects(path: Path) -> list[Reject]:
    """Reads what `write_rejects` wrote."""
    return _read(Reject, path)


def is_unseen(product_id: str, *, fraction: float) -> bool:
    """Whether a product is kept out of training, so that it can be reported apart.

    The choice hangs on the product's id alone: all views of a product fall on one side, and a
    product stays on its side from day to day whatever else the catalog holds.

    Args:
        product_id: The product.
        fraction: Share of the products to keep out, in [0, 1].
    """
    digest = hashlib.sha256(f"unseen:{product_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64
