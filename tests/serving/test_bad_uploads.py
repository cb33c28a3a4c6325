"""Uploads that are broken, hostile or merely unusual: an answer or a problem, never a failure."""

from __future__ import annotations

import asyncio
import functools
import io
import re
import struct
import zipfile
import zlib
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.app import create_app
from serving.engine import Engine
from serving.settings import Settings

MIB = 1024 * 1024
RED = (220, 30, 30)
LARGEST_BYTES = 2 * MIB
LARGEST_PIXELS = 4_000_000


@pytest.fixture(scope="module")
def app(module_maker):
    engine = Engine()
    engine.swap(module_maker.loaded("uploads"))
    made = create_app(
        engine,
        Settings(
            bundle=Path("unused"),
            max_upload_bytes=LARGEST_BYTES,
            max_upload_pixels=LARGEST_PIXELS,
        ),
    )
    yield made
    made.state.service.close()


@pytest.fixture(scope="module")
def upload(app):
    def send(*photos, multipart=False):
        async def once():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await asyncio.gather(
                    *(
                        client.post("/v1/search?k=3", files={"image": ("a", photo)})
                        if multipart
                        else client.post("/v1/search?k=3", content=photo)
                        for photo in photos
                    )
                )

        answers = asyncio.run(once())
        for answer in answers:
            check(answer)
        return answers

    return send


def check(answer):
    """Checks that it is an answer, or a refusal that says why."""
    if answer.status_code == 200:
        assert answer.json()["results"]
        return
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    content = answer.json()
    assert content["status"] == answer.status_code
    assert re.fullmatch("[a-z_]+", content["reason"])
    assert len(content["detail"]) > 10
    assert "Traceback" not in answer.text


def encoded(kind, *, mode="RGB", colour=RED, size=(32, 32), **options):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


@functools.cache
def bomb():
    """100 KiB that unfold to 100 MiB."""
    return zlib.compress(b"\0" * 100 * MIB, 9)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks, depth=8, colour=2):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IEND", b"")


def animated(kind):
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, (0, 0, 255), (0, 255, 0))]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=50)
    return buffer.getvalue()


def rotated():
    """A picture red on top and blue below, stored on its side with the tag that says so."""
    upright = Image.new("RGB", (32, 32), RED)
    upright.paste((0, 0, 255), (0, 16, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    upright.rotate(90).save(buffer, "JPEG", exif=exif, quality=95)
    return buffer.getvalue()


def sixteen_bit():
    rows = b"".join(
        b"\0" + struct.pack(">HHH", *(value * 257 for value in RED)) * 32 for _ in range(32)
    )
    return png(32, 32, chunk(b"IDAT", zlib.compress(rows)), depth=16)


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("evil.js", "alert(1)")
    return buffer.getvalue()


UNUSUAL = {
    "animated GIF": lambda: animated("GIF"),
    "animated WebP": lambda: animated("WEBP"),
    "animated PNG": lambda: animated("PNG"),
    "CMYK JPEG": lambda: encoded("JPEG", mode="CMYK", quality=95),
    "16-bit PNG": sixteen_bit,
    "palette PNG": lambda: encoded("PNG", mode="P"),
    "transparent PNG": lambda: encoded("PNG", mode="RGBA"),
    "WebP": lambda: encoded("WEBP", lossless=True),
    "BMP": lambda: encoded("BMP"),
    "progressive JPEG": lambda: encoded("JPEG", progressive=True, quality=95),
    "JPEG with rubbish behind it": lambda: encoded("JPEG", quality=95) + b"<?php system('id'); ?>",
    "PNG with a ZIP behind it": lambda: encoded("PNG") + zipped(),
    "GIF with a page in its comment": lambda: encoded(
        "GIF", comment=b"<html><script>alert(1)</script>"
    ),
}


@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.parametrize("multipart", [False, True])
def test_the_unusual_is_answered_as_the_plain_picture_is(upload, name, multipart):
    plain, unusual = upload(encoded("PNG"), UNUSUAL[name](), multipart=multipart)
    assert unusual.status_code == 200
    first, second = plain.json()["results"][0], unusual.json()["results"][0]
    assert second["item_id"] == first["item_id"]
    assert second["score"] == pytest.approx(first["score"], abs=0.02)


def test_a_picture_on_its_side_is_put_upright(app):
    from components.contracts.images import admit

    with Image.open(io.BytesIO(admit(rotated()))) as image:
        pixels = image.convert("RGB")
        top, bottom = pixels.getpixel((16, 4)), pixels.getpixel((16, 28))
    assert top[0] > 180 > bottom[0]
    assert bottom[2] > 180 > top[2]


HOSTILE = {
    "nothing": (lambda: b"", 400, "empty_image"),
    "text": (lambda: b"hello", 415, "not_an_image"),
    "SVG": (
        lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        415,
        "not_an_image",
    ),
    "page": (lambda: b"<!doctype html><script>alert(1)</script>", 415, "not_an_image"),
    "PDF": (lambda: b"%PDF-1.7\n1 0 obj\n", 415, "not_an_image"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n(id) run\n", 415, "not_an_image"),
    "ZIP": (zipped, 415, "not_an_image"),
    "TIFF": (lambda: encoded("TIFF"), 415, "not_an_image"),
    "icon": (lambda: encoded("ICO"), 415, "not_an_image"),
    "GIF header with a page behind it": (
        lambda: b"GIF89a/*<html>*/=1;alert(1)//" + b"x" * 100,
        None,
        None,
    ),
    "truncated JPEG": (lambda: encoded("JPEG", size=(256, 256))[:-300], 422, "truncated_image"),
    "truncated PNG": (lambda: encoded("PNG", size=(256, 256))[:-40], 422, "truncated_image"),
    "truncated WebP": (lambda: encoded("WEBP", size=(256, 256))[:-60], None, None),
    "header alone": (lambda: encoded("PNG")[:33], 415, "not_an_image"),
    "wide as the world": (
        lambda: png(60_000, 60_000, chunk(b"IDAT", zlib.compress(b"\0" * 100))),
        413,
        "too_many_pixels",
    ),
    "widest a header can say": (lambda: png(2**31 - 1, 2**31 - 1), None, None),
    "no width": (lambda: png(0, 10), None, None),
    "one pixel": (lambda: encoded("PNG", size=(1, 1)), 422, "too_small"),
    "a bomb in a text chunk": (
        lambda: png(
            32, 32, chunk(b"zTXt", b"a\0\0" + bomb()),
            chunk(b"IDAT", zlib.compress(b"\0" * 97 * 32)),
        ),
        None,
        None,
    ),
    "a bomb in a colour profile": (
        lambda: png(
            32, 32, chunk(b"iCCP", b"a\0\0" + bomb()),
            chunk(b"IDAT", zlib.compress(b"\0" * 97 * 32)),
        ),
        None,
        None,
    ),
    "a bomb in the pixels": (
        lambda: png(32, 32, chunk(b"IDAT", bomb())),
        None,
        None,
    ),
    "more bytes than allowed": (
        lambda: encoded("PNG") + b"\0" * LARGEST_BYTES, 413, "too_many_bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("multipart", [False, True])
def test_the_hostile_is_refused_with_its_reason(upload, name, multipart):
    make, status, reason = HOSTILE[name]
    (answer,) = upload(make(), multipart=multipart)
    # Where neither is given, decoders differ in what they forgive: `upload` checks the rest.
    if status is not None:
        assert (answer.status_code, answer.json()["reason"]) == (status, reason)


def test_a_name_or_type_that_lies_changes_nothing(app):
    async def once():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            photo = encoded("PNG")
            return [
                await client.post(
                    "/v1/search", content=photo, headers={"Content-Type": "image/svg+xml"}
                ),
                await client.post(
                    "/v1/search",
                    files={"image": ("../../etc/passwd\0.php", photo, "text/html")},
                ),
            ]

    for answer in asyncio.run(once()):
        assert answer.status_code == 200


def memory(field):
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", text)[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_hostile_uploads_at_once_take_bounded_memory(upload):
    photos = [HOSTILE[name][0]() for name in HOSTILE if "bomb" in name or "wide" in name]
    photos += [encoded("PNG", size=(2000, 2000))] * 4
    upload(*photos)
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    upload(*photos * 2)
    # Two threads decode at once, some bytes for each of four million pixels; nothing like the
    # gigabytes that sixteen requests at once would take if each unfolded.
    assert memory("VmHWM") - before < 200 * MIB


@settings(
    max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP"]),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    keep=st.floats(0.2, 1.0),
)
def test_damaged_pictures_are_answered_or_refused(upload, kind, places, keep):
    photo = bytearray(encoded(kind, size=(48, 40)))
    for place, value in places:
        photo[int(place * (len(photo) - 1))] = value
    upload(bytes(photo[: int(keep * len(photo))]))
