"""The shape of what the API answers."""

from __future__ import annotations

from urllib.parse import quote

from pydantic import BaseModel, Field

from components.contracts.catalog import Item
from serving.engine import Hit, LoadedBundle


class ItemAnswer(BaseModel):
    """One item of the catalog."""

    item_id: str
    product_id: str
    title: str
    taxon_id: str
    taxon_path: str = Field(description="As people read it, such as `Seating > Sofas`.")
    image: str | None = Field(description="Path of the picture, when this server shows pictures.")


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


class ItemDetail(BaseModel):
    """An item and the version that holds it."""

    version: str
    item: ItemAnswer


class SimilarAnswer(BaseModel):
    """What looks like an item, best first."""

    version: str
    query: ItemQuery
    results: list[Result]


class SearchAnswer(BaseModel):
    """What looks like a photo, best first."""

    version: str
    query: PhotoQuery
    results: list[Result]


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


def image_path(item: Item) -> str:
    """Returns the path of an item's picture."""
    return f"/v1/items/{quote(item.item_id, safe='')}/image"


def describe_item(bundle: LoadedBundle, item: Item, *, images: bool) -> ItemAnswer:
    """Returns an item as the API shows it."""
    return ItemAnswer(
        item_id=item.item_id,
        product_id=item.product_id,
        title=item.title,
        taxon_id=item.taxon_id,
        taxon_path=bundle.taxon_path(item),
        image=image_path(item) if images else None,
    )


def describe_hits(bundle: LoadedBundle, hits: list[Hit], *, images: bool) -> list[Result]:
    """Returns hits as the API shows them."""
    return [
        Result(
            **describe_item(bundle, hit.item, images=images).model_dump(),
            score=round(hit.score, 6),
        )
        for hit in hits
    ]
