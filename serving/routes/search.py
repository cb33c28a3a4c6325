"""Search by photo."""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.responses import Response

from components.contracts.files import sha256_bytes
from serving import answers
from serving.question import KEY_HEADER, PHOTO_ROUTE, Question
from serving.routes.interface import Department, K, MinScore, Taxon, refusals, written_answer
from serving.service import Service
from serving.uploads import FIELD

_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                    "required": [FIELD],
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def add(app: FastAPI, service: Service) -> None:
    """Adds the search."""
    images = service.settings.images

    @app.post(
        "/v1/search",
        response_model=answers.SearchAnswer,
        responses=refusals(400, 408, 413, 415, 422, 429, 503),
        openapi_extra=_UPLOAD,
    )
    async def search(
        request: Request,
        k: K = 10,
        department: Department = "",
        taxon: Taxon = "",
        min_score: MinScore = -1.0,
    ) -> Response:
        """What looks like a photo: a raw image body, or the multipart field `image`.

        One image a product, best first. A department or taxon leaves only its items, and
        `filter.fewer_than_k` says when that left fewer than k.
        """
        call = service.shedding.call(request, PHOTO_ROUTE)
        service.bundle()  # Without one, nobody sends a photo for nothing.
        photo = await service.photos.receive(request, call)
        question = Question(k, department, taxon, min_score)
        key = request.headers.get(KEY_HEADER) or sha256_bytes(photo.admitted)
        answer = await service.ask_photo(photo, question, key, call)

        def write() -> bytes:
            return answers.search_json(
                answer.bundle, photo.query, answer.wanted, answer.found, images=images
            )

        return written_answer(write, answer.bundle, service.telemetry, PHOTO_ROUTE)
