"""Rows of the catalog and of the shopper photos: what each must be before its image is read."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from components.catalog.config import CatalogConfig
from components.catalog.duplicates import Fingerprints
from components.catalog.statistics import Look, brightness, looks_decoded
from components.catalog.tables import Table
from components.contracts.catalog import Reject
from components.contracts.errors import SetAsideError
from components.contracts.files import sha256_bytes
from components.contracts.images import (
    BadImageError,
    ImageLimits,
    is_remote,
    local_path,
    probe,
    read_image,
)
from components.contracts.progress import Progress
from components.contracts.taxonomy import Taxonomy
from components.contracts.web_addresses import shown_uri

ITEM_COLUMNS = ("item_id", "image")
QUERY_COLUMNS = ("query_id", "image", "product_id", "taxon_id")
_KNOWN_ITEM_COLUMNS = frozenset({"item_id", "image", "taxon_id", "product_id", "title", "traffic"})
# Ids stand in URLs, file names and a fixed-width array of the index.
_LONGEST_ID = 200
# Images in flight: enough to keep the threads busy, few enough for a million rows.
_CHUNK = 1024


class BadRowError(SetAsideError):
    """A row that is set aside."""


@dataclass(frozen=True)
class Row:
    """A row that passed, before its image is read.

    Attributes:
        key: The item's or query's id.
        row: The row in its file.
        image: As the table says.
        taxon_id: An active node, or empty.
        product_id: As the table says, or empty.
        title: As the table says, or empty.
        traffic: Non-negative.
        attributes: Further columns.
    """

    key: str
    row: int
    image: str
    taxon_id: str
    product_id: str
    title: str = ""
    traffic: float = 1.0
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadImage:
    """Where a row's image lies (a local path or a URI), what its bytes hash to, and its look."""

    path: str
    content_hash: str
    look: Look


def check_items(table: Table, taxonomy: Taxonomy) -> tuple[list[Row], list[Reject]]:
    """Returns the usable rows of a catalog, and the rejects."""

    def convert(row: int, cells: Mapping[str, str]) -> Row:
        taxon_id = _taxon(cells.get("taxon_id", ""), taxonomy)
        return Row(
            key=cells["item_id"],
            row=row,
            image=_image(cells),
            taxon_id=taxon_id,
            product_id=_optional_id(cells.get("product_id", ""), "product_id"),
            title=cells.get("title", ""),
            traffic=_traffic(cells.get("traffic", "")),
            attributes={
                name: cell
                for name, cell in cells.items()
                if name not in _KNOWN_ITEM_COLUMNS and name and cell
            },
        )

    return _check(table, "item", "item_id", convert)


def check_queries(
    table: Table, taxonomy: Taxonomy, products: Collection[str]
) -> tuple[list[Row], list[Reject]]:
    """Returns the usable rows of the shopper photos, and the rejects.

    Args:
        table: The photos.
        taxonomy: The tree; a photo's node is a leaf.
        products: The products of the usable items: a photo of any other has no right answer.
    """

    def convert(row: int, cells: Mapping[str, str]) -> Row:
        taxon_id = _taxon(cells["taxon_id"], taxonomy)
        if not taxon_id:
            raise BadRowError("missing_taxon", "expected the leaf that the photo shows, got none")
        if not taxonomy.is_leaf(taxon_id):
            raise BadRowError(
                "not_a_leaf", f"expected a leaf, received {taxon_id!r}, which has nodes below it"
            )
        product_id = _optional_id(cells["product_id"], "product_id")
        if product_id and product_id not in products:
            raise BadRowError(
                "unknown_product",
                f"expected a product of the checked catalog, received {product_id!r}",
            )
        return Row(cells["query_id"], row, _image(cells), taxon_id, product_id)

    return _check(table, "query", "query_id", convert)


def _check(
    table: Table, kind: str, id_column: str, convert: object
) -> tuple[list[Row], list[Reject]]:
    assert callable(convert)
    first: dict[str, int] = {}
    rows: list[Row] = []
    rejects = [
        Reject(kind, "", table.source, bad.row, "bad_row", bad.detail) for bad in table.bad_rows
    ]
    for row, cells in table.records():
        key = cells[id_column]
        try:
            _check_id(key, id_column)
            # The first row keeps the id even when it is set aside itself: which of two rows
            # describes the item must not hang on whether a file happens to be missing.
            if first.setdefault(key, row) != row:
                raise BadRowError(
                    "duplicate_id",
                    f"{id_column} {key!r} stands already in row {first[key]}; the first row counts",
                )
            rows.append(convert(row, cells))
        except BadRowError as error:
            rejects.append(
                Reject(kind, key[:_LONGEST_ID], table.source, row, error.reason, str(error))
            )
    return rows, rejects


def _check_id(key: str, column: str) -> None:
    if not key:
        raise BadRowError("empty_id", f"expected {column}, received nothing")
    if len(key) > _LONGEST_ID or not key.isprintable():
        raise BadRowError(
            "bad_id",
            f"expected {column} of at most {_LONGEST_ID} printable characters, received "
            f"{key[:40]!r}",
        )


def _optional_id(key: str, column: str) -> str:
    if key:
        _check_id(key, column)
    return key


def _image(cells: Mapping[str, str]) -> str:
    if not cells["image"]:
        raise BadRowError("missing_image", "expected the path of an image, received nothing")
    return cells["image"]


def _taxon(taxon_id: str, taxonomy: Taxonomy) -> str:
    if not taxon_id or taxon_id in taxonomy:
        return taxon_id
    try:
        taxonomy[taxon_id]
    except KeyError:
        raise BadRowError(
            "unknown_taxon", f"expected a node of the taxonomy, received {taxon_id!r}"
        ) from None
    if successor := taxonomy.successor(taxon_id):
        return successor
    raise BadRowError(
        "unknown_taxon", f"expected a node in use, received {taxon_id!r}, which is retired"
    )


def _traffic(text: str) -> float:
    if not text:
        return 1.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise BadRowError(
            "bad_traffic", f"expected traffic as a number from 0 up, received {text!r}"
        )
    return value


def read_images(
    rows: Sequence[Row],
    *,
    kind: str,
    source: Path,
    config: CatalogConfig,
    progress: Progress,
    fingerprints: Fingerprints,
) -> tuple[list[tuple[Row, ReadImage]], list[Reject]]:
    """Reads, probes and hashes the images of rows, several at a time.

    Images whose fingerprint is not known yet are decoded at a small size; the transform step
    decodes them whole.

    Args:
        rows: What passed `check_items` or `check_queries`.
        kind: `item` or `query`.
        source: The table; images are relative to its folder and may not leave it.
        config: The step's settings.
        progress: Advanced by one for each image.
        fingerprints: Where each image's is found or made.

    Returns:
        The rows whose image can be used, in order, and the rejects.
    """
    folder = Path(os.path.realpath(source.parent))
    kept: list[tuple[Row, ReadImage]] = []
    rejects: list[Reject] = []
    sampled = len(rows) if kind == "item" else None
    with ThreadPoolExecutor(config.reading_threads) as threads:
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            outcomes = threads.map(
                lambda row: _read(row.image, folder, config.image_limits, sampled, fingerprints),
                chunk,
            )
            for row, outcome in zip(chunk, outcomes, strict=True):
                if isinstance(outcome, ReadImage):
                    kept.append((row, outcome))
                    progress.advance()
                else:
                    rejects.append(
                        Reject(kind, row.key, str(source), row.row, outcome.reason, str(outcome))
                    )
                    progress.advance(rejects=1)
    return kept, rejects


def _read(
    image: str,
    folder: Path,
    limits: ImageLimits,
    sampled: int | None,
    fingerprints: Fingerprints,
) -> ReadImage | BadImageError:
    try:
        path = resolve_image(image, folder)
        data = read_image(path, limits)
        kind, width, height = probe(data, limits)
    except BadImageError as error:
        shown = shown_uri(image)
        detail = str(error) if shown in str(error) else f"{shown}: {error}"
        return BadImageError(error.reason, detail)
    content_hash = sha256_bytes(data)
    fingerprints.of(content_hash, data)
    decoded = sampled is not None and looks_decoded(content_hash, sampled)
    light = brightness(data) if decoded else None
    return ReadImage(path, content_hash, Look(kind, width, height, len(data), light))


def resolve_image(image: str, folder: Path) -> str:
    """Returns where an image is read: a local one by its absolute path, symbolic links followed.

    Args:
        image: As the table says.
        folder: The table's folder, itself without symbolic links.

    Raises:
        BadImageError: It is a local file outside the table's folder, or a URI of another kind.
    """
    if is_remote(image):
        return image
    if "://" in image and image.partition("://")[0].lower() != "file":
        raise BadImageError(
            "unsupported_uri",
            f"{image}: expected a path or file:// URI below the table's folder, or a gs://, "
            "https:// or http:// URI",
        )
    try:
        path = Path(os.path.realpath(folder / local_path(image)))
    except (OSError, ValueError) as error:
        raise BadImageError("unreadable_image", f"{image!r}: not a path ({error})") from None
    if not path.is_relative_to(folder):
        raise BadImageError(
            "outside_catalog", f"{image}: expected an image below {folder}, this path leaves it"
        )
    return str(path)
