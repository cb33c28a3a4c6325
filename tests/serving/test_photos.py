"""What becomes of an upload; the bad ones are in test_bad_uploads."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from starlette.requests import Request

from components.contracts.images import BadImageError
from serving.image_threads import ImageThreads
from serving.load_shedding import LoadShedding
from serving.photos import INLINE_BYTES, Photos, image_problem
from serving.problems import Problem
from serving.question import Call
from serving.settings import Settings
from serving.telemetry import Telemetry

CALL = Call("/v1/search", math.inf)


class Heard(Telemetry):
    def __init__(self):
        self.stages = []

    def stage(self, route, stage, seconds, ago=0.0):
        self.stages.append((route, stage))


def upload(body: bytes) -> Request:
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"image/any"), (b"content-length", b"%d" % len(body))]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def run(script, *, queue=4, **settings):
    heard = Heard()

    async def all_of_it():
        given = Settings(bundle=Path("unused"), **settings)
        threads = ImageThreads(1, queue=queue)
        try:
            return await script(Photos(given, heard, LoadShedding(given, heard), threads))
        finally:
            threads.close()

    return asyncio.run(all_of_it()), [stage for _, stage in heard.stages]


def test_a_small_plain_jpeg_waits_for_no_thread(maker):
    photo, stages = run(lambda photos: photos.receive(upload(maker.jpeg((9, 9, 9))), CALL))
    assert (photo.query.format, photo.query.width, photo.query.height) == ("JPEG", 32, 32)
    assert stages == ["upload", "admit"]


def test_any_other_photo_is_checked_in_a_thread_and_tells_how_long_it_waited(maker):
    photo, stages = run(lambda photos: photos.receive(upload(maker.png((9, 9, 9))), CALL))
    assert photo.query.format == "PNG"
    assert stages == ["upload", "queue", "admit"]


def test_what_is_too_large_to_look_through_is_not_plain(maker):
    async def script(photos):
        return photos.plain(maker.jpeg((9, 9, 9)) + bytes(INLINE_BYTES))

    assert run(script)[0] is None


def test_a_photo_that_is_too_late_is_not_decoded(maker):
    async def script(photos):
        with pytest.raises(Problem) as caught:
            await photos.receive(upload(maker.png((9, 9, 9))), Call("/v1/search", 0.0))
        return caught.value.reason

    assert run(script) == ("deadline", ["upload"])


def test_a_page_without_room_for_a_small_picture_says_so(maker):
    async def script(photos):
        photo = await photos.receive(upload(maker.jpeg((9, 9, 9))), CALL)
        picture = await photos.inline(photo, CALL)
        photos._threads._taken = 100
        with pytest.raises(Problem) as caught:
            await photos.inline(photo, CALL)
        return picture, caught.value

    (picture, refusal), _ = run(script)
    assert picture.startswith("data:image/")
    assert (refusal.status, refusal.reason) == (503, "overloaded")


@pytest.mark.parametrize(
    ("reason", "status"),
    [("too_many_pixels", 413), ("not_an_image", 415), ("empty_image", 400), ("truncated", 422)],
)
def test_the_reason_decides_the_status(reason, status):
    assert image_problem(BadImageError(reason, "why")).status == status
