"""What the routes share: the engine, the limits and the threads that do the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import quote

from fastapi import Request

from components.contracts.catalog import Item
from components.contracts.images import BadImageError, ImageLimits
from components.contracts.page import thumbnail as inline_thumbnail
from serving import answers, views
from serving.engine import Engine, Hit, LoadedBundle
from serving.pictures import Pictures
from serving.problems import Problem, shorten
from serving.settings import Settings
from serving.telemetry import SILENT, Telemetry
from serving.uploads import read_upload

T = TypeVar("T")
_IMAGE_STATUS = {
    "empty_image": 400,
    "too_many_bytes": 413,
    "too_many_pixels": 413,
    "not_an_image": 415,
}


class Service:
    """What the routes share."""

    def __init__(self, engine: Engine, settings: Settings, telemetry: Telemetry = SILENT) -> None:
        """Makes the worker threads: searching and decoding stay off the event loop."""
        self.engine = engine
        self.settings = settings
        self.telemetry = telemetry
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
