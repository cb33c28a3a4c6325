"""The page at `/`."""

from __future__ import annotations

import random
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, Response

from serving import views
from serving.engine import LoadedBundle
from serving.problems import Problem
from serving.query import Wanted
from serving.service import Service

_PAGE_RESULTS = 12
_PAGE_PICKS = 18


def add(app: FastAPI, service: Service) -> None:
    """Adds the page at `/`."""

    def show(bundle: LoadedBundle, status: int = 200, **parts: Any) -> Response:
        items = bundle.items
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

    @app.get("/", include_in_schema=False)
    async def page(request: Request, item: str = "") -> Response:
        bundle = service.bundle()
        if not item:
            return show(bundle)
        try:
            position = service.position(bundle, item)
        except Problem as problem:
            return show(bundle, problem.status, error=problem.detail)
        wanted = Wanted(k=_PAGE_RESULTS)
        found = await service.like_item(bundle, position, wanted, service.call(request, "/"))
        query = service.tile(bundle, bundle.items[position])
        return show(bundle, query=query, results=service.tiles(bundle, found))

    @app.post("/", include_in_schema=False)
    async def page_search(request: Request) -> Response:
        bundle = service.bundle()
        try:
            call = service.call(request, "/")
            photo = await service.photo(request, call)
            found = await service.like_photo(bundle, photo, Wanted(k=_PAGE_RESULTS), call)
        except Problem as problem:
            return show(bundle, problem.status, error=problem.detail)
        size = f"{photo.query.format}, {photo.query.width} × {photo.query.height}"
        query = views.Tile("", "Your photo", size, await service.inline(photo.admitted))
        return show(bundle, query=query, results=service.tiles(bundle, found))
