"""The page at `/`."""

from __future__ import annotations

import random
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, Response

from serving import views
from serving.engine import Hit, LoadedBundle
from serving.problems import Problem
from serving.service import Service

_PAGE_RESULTS = 12
_PAGE_PICKS = 18


def add(app: FastAPI, service: Service) -> None:
    """Adds the page at `/`."""

    def show(bundle: LoadedBundle, status: int = 200, **parts: Any) -> Response:
        items = bundle.index.items
        chosen = random.sample(items, min(_PAGE_PICKS, len(items)))
        page = views.render(
            version=bundle.version,
            items=len(items),
            picks=[service.tile(bundle, item) for item in chosen],
            **parts,
        )
        headers = {
            "Content-Security-Policy": views.CONTENT_SECURITY_POLICY,
            "X-Lookalike-Bundle": bundle.version,
        }
        return HTMLResponse(page, status_code=status, headers=headers)

    def tiles(bundle: LoadedBundle, hits: list[Hit]) -> list[views.Tile]:
        return [service.tile(bundle, hit.item, hit.score) for hit in hits]

    @app.get("/", include_in_schema=False)
    async def page(item: str = "") -> Response:
        bundle = service.bundle()
        if not item:
            return show(bundle)
        try:
            found = service.item(bundle, item)
        except Problem as problem:
            return show(bundle, problem.status, error=problem.detail)
        hits = await service.similar(bundle, found, _PAGE_RESULTS, exclude_same_product=True)
        query = service.tile(bundle, found)
        return show(bundle, query=query, results=tiles(bundle, hits))

    @app.post("/", include_in_schema=False)
    async def page_search(request: Request) -> Response:
        bundle = service.bundle()
        try:
            photo, admitted, hits = await service.search(bundle, request, _PAGE_RESULTS)
        except Problem as problem:
            return show(bundle, problem.status, error=problem.detail)
        size = f"{photo.format}, {photo.width} × {photo.height}"
        query = views.Tile("", "Your photo", size, await service.inline(admitted))
        return show(bundle, query=query, results=tiles(bundle, hits))
