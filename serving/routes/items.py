"""Items: what looks like one, what it is, its picture."""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.responses import Response

from serving import answers, lookup
from serving.question import KEY_HEADER, SIMILAR_ROUTE, Question
from serving.routes.interface import (
    Department,
    K,
    MinScore,
    Taxon,
    json_answer,
    refusals,
    written_answer,
)
from serving.service import Service

_PICTURE_SECONDS = 3600
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def add(app: FastAPI, service: Service) -> None:
    """Adds the routes of items."""
    images = service.settings.images

    # Item ids may hold slashes: the last of these routes takes whatever the others leave.
    @app.get(
        "/v1/items/{item_id:path}/similar",
        response_model=answers.SimilarAnswer,
        responses=refusals(404, 410, 422, 429, 503),
    )
    async def similar(
        request: Request,
        item_id: str,
        k: K = 10,
        department: Department = "",
        taxon: Taxon = "",
        min_score: MinScore = -1.0,
        exclude_same_product: bool = True,
    ) -> Response:
        """What looks like an item: one image a product, never the item itself.

        A department or taxon leaves only its items, and `filter.fewer_than_k` says when that left
        fewer than k. `exclude_same_product=false` allows one other image of the item's own product.
        """
        call = service.shedding.call(request, SIMILAR_ROUTE)
        question = Question(k, department, taxon, min_score, exclude_same_product)
        key = request.headers.get(KEY_HEADER) or item_id
        answer = await service.ask_item(item_id, question, key, call)

        def write() -> bytes:
            return answers.similar_json(
                answer.bundle, answer.position, answer.wanted, answer.found, images=images
            )

        return written_answer(write, answer.bundle, service.telemetry, SIMILAR_ROUTE)

    @app.get(
        "/v1/items/{item_id:path}/image",
        response_class=Response,
        responses={
            200: {"description": "The picture.", "content": {"image/*": _BINARY}},
            **refusals(404, 410, 429, 503),
        },
    )
    async def image(item_id: str) -> Response:
        """An item's picture as it was indexed."""
        item = lookup.item(service.bundle(), item_id)
        data, kind = await service.picture(lambda: service.pictures.original(item))
        return _picture(data, kind)

    @app.get(
        "/v1/items/{item_id:path}/thumbnail",
        response_class=Response,
        responses={
            200: {"description": "The picture.", "content": {"image/jpeg": _BINARY}},
            **refusals(404, 410, 429, 503),
        },
    )
    async def thumbnail(item_id: str) -> Response:
        """An item's picture as a small JPEG."""
        item = lookup.item(service.bundle(), item_id)
        data = await service.picture(lambda: service.pictures.thumbnail(item))
        return _picture(data, "image/jpeg")

    @app.get(
        "/v1/items/{item_id:path}",
        response_model=answers.ItemDetail,
        responses=refusals(404, 410, 429, 503),
    )
    async def detail(item_id: str) -> Response:
        """One item."""
        bundle = service.bundle()
        item = lookup.item(bundle, item_id)
        content = answers.ItemDetail(
            version=bundle.version, item=answers.describe_item(bundle, item, images=images)
        )
        return json_answer(content.model_dump(), bundle)


def _picture(data: bytes, kind: str) -> Response:
    headers = {"Cache-Control": f"private, max-age={_PICTURE_SECONDS}"}
    return Response(data, media_type=kind, headers=headers)
