"""Is it alive, is it ready, what does it serve."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.responses import Response

from serving import answers
from serving.routes.interface import json_answer, refusals
from serving.service import Service

_DETAIL = {"schema": {"type": "object", "required": ["ready"]}}


def add(app: FastAPI, service: Service) -> None:
    """Adds the probes."""

    @app.get("/healthz", response_model=answers.Health)
    async def healthz() -> Response:
        """Whether the process is alive."""
        return json_answer({"status": "ok"})

    @app.get(
        "/readyz",
        responses={
            200: {"description": "It is ready.", "content": {"application/json": _DETAIL}},
            503: {"description": "Not yet.", "content": {"application/json": _DETAIL}},
        },
    )
    async def readyz() -> Response:
        """Whether a checked bundle answers, and how following the channel goes."""
        detail = service.describe()
        return json_answer(detail, status=200 if detail["ready"] else 503)

    @app.get("/version", response_model=answers.Version, responses=refusals(429, 503))
    async def version() -> Response:
        """What is being served."""
        bundle = service.bundle()
        manifest = bundle.manifest
        content = answers.Version(
            version=bundle.version,
            manifest_sha256=bundle.digest,
            created=manifest.created,
            mode=manifest.mode,
            items=manifest.items,
            embedding_dim=manifest.embedding_dim,
            channel=service.settings.channel,
            loaded_at=service.engine.status.loaded_at,
        )
        return json_answer(content.model_dump(), bundle)
