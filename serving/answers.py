"""The shape of what the API answers, and writing it.

The models are the contract: `/openapi.json` is made from them, and a test holds what is written
to them. Answers of searches are put together from bytes kept for each item, because a model's own
way takes longer than the search.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

import msgspec
from pydantic import BaseModel, Field

from components.contracts.catalog import Item
from components.search.query import Found, Wanted
from serving.engine import LoadedBundle

_json = msgspec.json.Encoder().encode


class ItemAnswer(BaseModel):
    """One item of the catalog."""

    item_id: str
    product_id: str
    title: str
    taxon_id: str
    taxon_path: str = Field(description="As people read it, such as `Seating > Sofas`.")
    image: str | None = Field(
        description="Where its picture is: an address, or a path of this server when it shows "
        "pictures."
    )


class Result(ItemAnswer):
    """One item that looks like the query."""

    score: float = Field(description="Cosine similarity to the query, in [-1, 1].")


class ItemQuery(BaseModel):
    """The query of an item-to-item search."""

    item_id: str
    product_id: str
    exclude_same_product: bool


class PhotoQuery(BaseModel):
    """What a search saw of the uploaded photo."""

    format: str
    width: int
    height: int


class FilterReport(BaseModel):
    """What filters did to an answer."""

    taxon_id: str | None = Field(description="Only items at or below this node.")
    min_score: float | None = Field(description="Only items at least this alike.")
    examined: int = Field(description="How many neighbours were looked at.")
    fewer_than_k: bool = Field(description="Whether fewer than k were left.")


class ItemDetail(BaseModel):
    """An item and the version that holds it."""

    version: str
    item: ItemAnswer


class SimilarAnswer(BaseModel):
    """What looks like an item, best first."""

    version: str
    query: ItemQuery
    filter: FilterReport | None = Field(description="Null when nothing was filtered.")
    results: list[Result]


class SearchAnswer(BaseModel):
    """What looks like a photo, best first."""

    version: str
    query: PhotoQuery
    filter: FilterReport | None = Field(description="Null when nothing was filtered.")
    results: list[Result]


class Refusal(BaseModel):
    """Why one item of a batch has no answer."""

    reason: str
    detail: str


class BatchEntry(BaseModel):
    """The answer for one item of a batch: results, or an error."""

    item_id: str
    filter: FilterReport | None = Field(default=None, description="As in a single answer.")
    results: list[Result] = Field(default=[], description="Best first.")
    error: Refusal | None = None


class BatchAnswer(BaseModel):
    """What looks like each of many items, in the order asked; one version answers them all."""

    version: str
    answers: list[BatchEntry]


class Withdrawal(BaseModel):
    """What has become of an item's withdrawal."""

    item_id: str
    withdrawn: bool
    changed: bool = Field(description="False when it was so before.")
    items: int = Field(description="How many items are withdrawn now.")


class Health(BaseModel):
    """The process is alive."""

    status: str


class Version(BaseModel):
    """What is being served."""

    version: str
    manifest_sha256: str
    created: str
    mode: str
    items: int
    embedding_dim: int
    channel: str | None
    loaded_at: str


def image_link(item: Item, *, images: bool) -> str | None:
    """Returns where an item's picture is.

    Args:
        item: The item.
        images: Whether this server shows the pictures on its own disk.
    """
    if item.image.startswith(("https://", "http://")):
        return item.image
    return f"/v1/items/{quote(item.item_id, safe='')}/image" if images else None


def describe_item(bundle: LoadedBundle, item: Item, *, images: bool) -> ItemAnswer:
    """Returns an item as the API shows it."""
    return ItemAnswer(
        item_id=item.item_id,
        product_id=item.product_id,
        title=item.title,
        taxon_id=item.taxon_id,
        taxon_path=bundle.taxon_path(item),
        image=image_link(item, images=images),
    )


def similar_json(
    bundle: LoadedBundle, position: int, wanted: Wanted, found: Found, *, images: bool
) -> bytes:
    """Returns a `SimilarAnswer`."""
    item_id, product_id = _names(bundle, position, images)
    exclude = b"true" if wanted.exclude_same_product else b"false"
    return (
        b'{"version":"%b","query":{"item_id":%b,"product_id":%b,"exclude_same_product":%b},'
        b'"filter":%b,"results":%b}'
        % (
            bundle.version.encode(),
            item_id,
            product_id,
            exclude,
            filter_json(wanted, found),
            results_json(bundle, found, images=images),
        )
    )


def search_json(
    bundle: LoadedBundle, photo: PhotoQuery, wanted: Wanted, found: Found, *, images: bool
) -> bytes:
    """Returns a `SearchAnswer`."""
    return b'{"version":"%b","query":%b,"filter":%b,"results":%b}' % (
        bundle.version.encode(),
        photo.model_dump_json().encode(),
        filter_json(wanted, found),
        results_json(bundle, found, images=images),
    )


def batch_json(
    bundle: LoadedBundle,
    wanted: Wanted,
    entries: Sequence[tuple[str, Found | Refusal]],
    *,
    images: bool,
) -> bytes:
    """Returns a `BatchAnswer` of (item id, answer) in the order asked."""
    parts = []
    for item_id, found in entries:
        name = json.dumps(item_id).encode()
        if isinstance(found, Refusal):
            refused = found.model_dump_json().encode()
            parts.append(b'{"item_id":%b,"filter":null,"results":[],"error":%b}' % (name, refused))
        else:
            parts.append(
                b'{"item_id":%b,"filter":%b,"results":%b,"error":null}'
                % (name, filter_json(wanted, found), results_json(bundle, found, images=images))
            )
    return b'{"version":"%b","answers":[%b]}' % (bundle.version.encode(), b",".join(parts))


def filter_json(wanted: Wanted, found: Found) -> bytes:
    """Returns a `FilterReport`, or null when nothing was filtered."""
    if not (wanted.taxon_id or wanted.min_score > -1.0 or found.starved):
        return b"null"
    report = FilterReport(
        taxon_id=wanted.taxon_id or None,
        min_score=wanted.min_score if wanted.min_score > -1.0 else None,
        examined=found.examined,
        fewer_than_k=found.starved,
    )
    return report.model_dump_json().encode()


def results_json(bundle: LoadedBundle, found: Found, *, images: bool) -> bytes:
    """Returns a list of `Result`."""
    parts = [
        b"%b%.6f}" % (_fragment(bundle, position, images), score)
        for position, score in zip(found.positions, found.scores, strict=True)
    ]
    return b"[%b]" % b",".join(parts)


def _fragment(bundle: LoadedBundle, position: int, images: bool) -> bytes:
    """Returns a `Result` up to its score."""
    kept = bundle.fragment(position, images)
    if kept is None:
        item = bundle.items[position]
        # Member by member: the model's own way takes five times as long.
        kept = (
            b'{"item_id":%b,"product_id":%b,"title":%b,"taxon_id":%b,"taxon_path":%b,"image":%b,'
            b'"score":'
            % (
                _json(item.item_id),
                _json(item.product_id),
                _json(item.title),
                _json(item.taxon_id),
                _json(bundle.taxon_path(item)),
                _json(image_link(item, images=images)),
            )
        )
        bundle.keep_fragment(position, images, kept)
    return kept


def _names(bundle: LoadedBundle, position: int, images: bool) -> tuple[bytes, bytes]:
    """Returns an item's id and product id as JSON, cut out of its kept fragment."""
    fragment = _fragment(bundle, position, images)
    # Inside a JSON string every quote is escaped: these words stand between members only.
    item_id, rest = fragment[len(b'{"item_id":') :].split(b',"product_id":', 1)
    return item_id, rest.split(b',"title":', 1)[0]
