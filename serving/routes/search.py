"""Search by photo."""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.responses import Response

from serving import answers
from serving.routes.interface import REFUSALS, K, json_answer
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
        responses=REFUSALS,
        openapi_extra=_UPLOAD,
    )
    async def search(request: Request, k: K = 10) -> Response:
        """What looks like a photo: a raw image body, or the multipart field `image`."""
        bundle = service.bundle()
        query, _, hits = await service.search(bundle, request, k)
        content = answers.SearchAnswer(
            version=bundle.version,
            query=query,
            results=answers.describe_hits(bundle, hits, images=images),
        )
        return json_answer(content.model_dump(), bundle)
