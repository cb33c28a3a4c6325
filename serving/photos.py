"""From an upload to bytes that the encoder gets: read, measured, checked and put right."""

from __future__ import annotations

import time

from fastapi import Request

from components.contracts.images import BadImageError, ImageLimits, admit, plain_jpeg, probe
from components.contracts.page import thumbnail as inline_thumbnail
from serving.answers import PhotoQuery
from serving.batching import OverloadedError, TooLateError
from serving.image_threads import ImageThreads
from serving.load_shedding import LoadShedding
from serving.problems import Problem
from serving.question import Call, Photo
from serving.settings import Settings
from serving.telemetry import Telemetry
from serving.uploads import read_upload

# Looking through more bytes for markers than these is not done on the event loop.
INLINE_BYTES = 128 * 1024
_STATUS = {
    "empty_image": 400,
    "too_many_bytes": 413,
    "too_many_pixels": 413,
    "not_an_image": 415,
}


class Photos:
    """Receives the photos that are searched with."""

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry,
        shedding: LoadShedding,
        threads: ImageThreads,
    ) -> None:
        """Keeps the limits.

        Args:
            settings: What an upload may be.
            telemetry: Hears what took how long.
            shedding: Refuses what there is no room or time for.
            threads: Where photos are checked and decoded.
        """
        self._settings = settings
        self._telemetry = telemetry
        self._shedding = shedding
        self._threads = threads
        self._limits = ImageLimits(
            max_bytes=settings.max_upload_bytes, max_pixels=settings.max_upload_pixels
        )

    async def receive(self, request: Request, call: Call) -> Photo:
        """Reads and checks the photo of a request.

        Raises:
            Problem: The upload or the photo is refused, or there is no room or time.
        """
        started = time.perf_counter()
        data = await read_upload(
            request,
            max_bytes=self._settings.max_upload_bytes,
            seconds=self._settings.upload_seconds,
        )
        uploaded = time.perf_counter()
        self._telemetry.stage(call.route, "upload", uploaded - started)

        begun = uploaded

        def check() -> Photo:
            nonlocal begun
            begun = time.perf_counter()
            if time.monotonic() > call.deadline:
                raise TooLateError
            kind, width, height = probe(data, self._limits)
            shown = PhotoQuery(format=kind, width=width, height=height)
            return Photo(shown, admit(data, self._limits))

        photo = self.plain(data)
        try:
            if photo is None:
                photo = await self._threads.run(check)
        except BadImageError as error:
            raise image_problem(error) from None
        except (OverloadedError, TooLateError) as error:
            raise self._shedding.refusal(error, call) from None
        seconds = time.perf_counter() - begun
        if begun > uploaded:
            self._telemetry.stage(call.route, "queue", begun - uploaded, seconds)
        self._telemetry.stage(call.route, "admit", seconds)
        return photo

    def plain(self, data: bytes) -> Photo | None:
        """Returns a small photo that needs no correction, checked faster than a thread begins.

        What is damaged within it the encoder finds; None for what has to be checked in a thread.
        """
        if len(data) > INLINE_BYTES:
            return None
        size = plain_jpeg(data, self._limits)
        if size is None:
            return None
        return Photo(PhotoQuery(format="JPEG", width=size[0], height=size[1]), data)

    async def inline(self, photo: Photo, call: Call) -> str:
        """Returns a photo as a small picture inside the page.

        Raises:
            Problem: 503: there is no room.
        """
        try:
            return await self._threads.run(lambda: inline_thumbnail(photo.admitted, side=224))
        except OverloadedError as error:
            raise self._shedding.refusal(error, call) from None


def image_problem(error: BadImageError) -> Problem:
    """Returns the refusal of a photo."""
    return Problem(_STATUS.get(error.reason, 422), error.reason, str(error))
