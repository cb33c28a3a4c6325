"""The routes: the API under `/v1`, the probes, and the page at `/`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import FastAPI, Query, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from components.contracts.catalog import Item
from components.contracts.images import BadImageError, ImageLimits
from components.contracts.page import thumbnail as inline_thumbnail
from serving import answers, problems, views
from serving.engine import Engine, Hit, LoadedBundle
from serving.middleware import Boundary
from serving.pictures import Pictures
from serving.problems import Problem, shorten
from serving.settings import Settings
from serving.uploads import FIELD, read_upload

T = TypeVar("T")
MAX_K = 100
_PAGE_RESULTS = 12
_PAGE_PICKS = 18
_PICTURE_SECONDS = 3600

K = Annotated[int, Query(ge=1, le=MAX_K, description="Most results.")]
_IMAGE_STATUS = {
    "empty_image": 400,
    "too_many_bytes": 413,
    "too_many_pixels": 413,
    "not_an_image": 415,
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "A refusal with its reason (RFC 9457).",
        "content": {problems.MEDIA_TYPE: {"schema": {"type": "object"}}},
    },
    422: {
        "description": "A parameter or image that cannot be used (RFC 9457).",
        "content": {problems.MEDIA_TYPE: {"schema": {"type": "object"}}},
    },
}
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


class Service:
    """What the routes share."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        """Makes the worker threads: searching and decoding stay off the event loop."""
        self.engine = engine
        self.settings = settings
        self.limits = ImageLimits(
            max_bytes=settings.max_upload_bytes, max_pixels=settings.max_upload_pixels
        )
        self.pictures = Pictures(enabled=settings.images, limits=ImageLimits())
        self._search = ThreadPoolExecutor(settings.search_threads, thread_name_prefix="search")
        self._image = ThreadPoolExecutor(settings.image_threads, thread_name_prefix="image")

    def bundle(self) -> LoadedBundle:
        """Returns the bundle that answers this request to its end.

        Raises:
            Problem: 503: none is in place yet.
        """
        if self.engine.current is None:
            raise Problem(
                503, "not_ready", "the bundle is still being loaded", {"Retry-After": "2"}
            )
        return self.engine.current

    def item(self, bundle: LoadedBundle, item_id: str) -> Item:
        """Returns an item.

        Raises:
            Problem: 404: the bundle does not hold it.
        """
        item = bundle.item(item_id)
        if item is None:
            raise Problem(
                404,
                "unknown_item",
                f"item {shorten(item_id)!r} is not among the {bundle.manifest.items} items of "
                f"version {bundle.version}",
            )
        return item

    async def similar(
        self, bundle: LoadedBundle, item: Item, k: int, *, exclude_same_product: bool
    ) -> list[Hit]:
        """Searches by item in a worker thread."""
        return await self._run(
            self._search,
            lambda: bundle.similar(item, k, exclude_same_product=exclude_same_product),
        )

    async def search(
        self, bundle: LoadedBundle, request: Request, k: int
    ) -> tuple[answers.PhotoQuery, bytes, list[Hit]]:
        """Searches by the photo of a request in a worker thread.

        Raises:
            Problem: The upload or the photo is refused.
        """
        data = await read_upload(
            request,
            max_bytes=self.settings.max_upload_bytes,
            seconds=self.settings.upload_seconds,
        )
        try:
            photo, hits = await self._run(self._image, lambda: bundle.search(data, k, self.limits))
        except BadImageError as error:
            status = _IMAGE_STATUS.get(error.reason, 422)
            raise Problem(status, error.reason, str(error)) from None
        query = answers.PhotoQuery(format=photo.format, width=photo.width, height=photo.height)
        return query, photo.admitted, hits

    async def picture(self, read: Callable[[], T]) -> T:
        """Reads a catalog picture in a worker thread.

        Raises:
            Problem: 404: pictures are not shown here, or this one cannot be.
        """
        if not self.pictures.enabled:
            raise Problem(404, "no_pictures", "this server shows no pictures (start: --images)")
        try:
            return await self._run(self._image, read)
        except BadImageError as error:
            raise Problem(404, error.reason, str(error)) from None

    async def inline(self, photo: bytes) -> str:
        """Returns an admitted photo as a small picture inside the page."""
        return await self._run(self._image, lambda: inline_thumbnail(photo, side=224))

    def tile(self, bundle: LoadedBundle, item: Item, score: float | None = None) -> views.Tile:
        """Returns an item as the page shows it."""
        picture = ""
        if self.pictures.enabled:
            picture = f"/v1/items/{quote(item.item_id, safe='')}/thumbnail"
        return views.Tile(item.item_id, item.title, bundle.taxon_path(item), picture, score)

    def close(self) -> None:
        """Lets the worker threads end."""
        self._search.shutdown(wait=False, cancel_futures=True)
        self._image.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    async def _run(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)


Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(engine: Engine, settings: Settings, lifespan: Lifespan | None = None) -> FastAPI:
    """Returns the app over an engine.

    Args:
        engine: What answers; it may still be empty.
        settings: Limits.
        lifespan: What to start and stop with the app.
    """
    service = Service(engine, settings)
    app = FastAPI(
        title="Lookalike",
        description="Similar items and search by photo.",
        version="1",
        lifespan=lifespan,
        docs_url=None,  # They would load scripts from elsewhere.
        redoc_url=None,
    )
    app.state.service = service
    problems.install(app)
    app.add_middleware(Boundary, version=lambda: engine.version)
    _add_probes(app, service)
    _add_page(app, service)
    _add_api(app, service)
    return app


def _json(content: Any, bundle: LoadedBundle | None = None, status: int = 200) -> Response:
    headers = {"X-Lookalike-Bundle": bundle.version} if bundle else None
    return JSONResponse(content, status_code=status, headers=headers)


def _add_probes(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", response_model=answers.Health)
    async def healthz() -> Response:
        """Whether the process is alive."""
        return _json({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> Response:
        """Whether a checked bundle answers, and how following the channel goes."""
        detail = service.engine.describe()
        return _json(detail, status=200 if detail["ready"] else 503)

    @app.get("/version", response_model=answers.Version)
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
        return _json(content.model_dump(), bundle)


def _add_api(app: FastAPI, service: Service) -> None:
    images = service.settings.images

    @app.post(
        "/v1/search",
        response_model=answers.SearchAnswer,
        responses=_REFUSALS,
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
        return _json(content.model_dump(), bundle)

    # Item ids may hold slashes: the last of these routes takes whatever the others leave.
    @app.get(
        "/v1/items/{item_id:path}/similar",
        response_model=answers.SimilarAnswer,
        responses=_REFUSALS,
    )
    async def similar(item_id: str, k: K = 10, exclude_same_product: bool = True) -> Response:
        """What looks like an item: one image a product, never the item itself."""
        bundle = service.bundle()
        item = service.item(bundle, item_id)
        hits = await service.similar(bundle, item, k, exclude_same_product=exclude_same_product)
        content = answers.SimilarAnswer(
            version=bundle.version,
            query=answers.ItemQuery(
                item_id=item.item_id,
                product_id=item.product_id,
                exclude_same_product=exclude_same_product,
            ),
            results=answers.describe_hits(bundle, hits, images=images),
        )
        return _json(content.model_dump(), bundle)

    @app.get("/v1/items/{item_id:path}/image", response_class=Response, responses=_REFUSALS)
    async def image(item_id: str) -> Response:
        """An item's picture as it was indexed."""
        item = service.item(service.bundle(), item_id)
        data, kind = await service.picture(lambda: service.pictures.original(item))
        return _picture(data, kind)

    @app.get("/v1/items/{item_id:path}/thumbnail", response_class=Response, responses=_REFUSALS)
    async def thumbnail(item_id: str) -> Response:
        """An item's picture as a small JPEG."""
        item = service.item(service.bundle(), item_id)
        data = await service.picture(lambda: service.pictures.thumbnail(item))
        return _picture(data, "image/jpeg")

    @app.get("/v1/items/{item_id:path}", response_model=answers.ItemDetail, responses=_REFUSALS)
    async def detail(item_id: str) -> Response:
        """One item."""
        bundle = service.bundle()
        item = service.item(bundle, item_id)
        content = answers.ItemDetail(
            version=bundle.version, item=answers.describe_item(bundle, item, images=images)
        )
        return _json(content.model_dump(), bundle)


def _picture(data: bytes, kind: str) -> Response:
    headers = {"Cache-Control": f"private, max-age={_PICTURE_SECONDS}"}
    return Response(data, media_type=kind, headers=headers)


def _add_page(app: FastAPI, service: Service) -> None:
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
