from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from starlette.requests import Request

from serving import uploads
from serving.problems import Problem

MIB = 1024 * 1024
PHOTO = b"\x89PNG not really, but bytes are bytes here"


class Client:
    """A request body in pieces; counts what was asked for."""

    def __init__(self, chunks, headers=None, *, delay=0.0):
        self.chunks = iter(chunks)
        self.sent = 0
        self.delay = delay
        raw = [(key.lower().encode(), value.encode()) for key, value in (headers or {}).items()]
        self.scope = {"type": "http", "method": "POST", "path": "/", "headers": raw}

    async def receive(self):
        await asyncio.sleep(self.delay)
        chunk = next(self.chunks, None)
        if chunk is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        self.sent += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}

    def read(self, *, max_bytes=MIB, seconds=5.0):
        request = Request(self.scope, self.receive)
        return asyncio.run(uploads.read_upload(request, max_bytes=max_bytes, seconds=seconds))


def form(name, data, *, filename="p.png", boundary="xyz"):
    extra = f'; filename="{filename}"' if filename else ""
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode()
        + data
        + f"\r\n--{boundary}--\r\n".encode()
    )
    return [body], {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def refusal(client, **options):
    with pytest.raises(Problem) as caught:
        client.read(**options)
    return caught.value.status, caught.value.reason


def test_a_raw_body_comes_back_whatever_its_pieces_and_type():
    assert Client([PHOTO[:5], PHOTO[5:]], {"Content-Type": "image/png"}).read() == PHOTO
    # What curl says when it is told nothing.
    curl = {"Content-Type": "application/x-www-form-urlencoded"}
    assert Client([PHOTO], curl).read() == PHOTO


def test_a_multipart_field_comes_back():
    assert Client(*form("image", PHOTO)).read() == PHOTO


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (lambda: Client([]), (400, "empty_image")),
        (lambda: Client(*form("image", b"")), (400, "empty_image")),
        (lambda: Client(*form("photo", PHOTO)), (400, "missing_image")),
        (lambda: Client(*form("image", PHOTO, filename="")), (400, "missing_image")),
        (
            lambda: Client([PHOTO], {"Content-Type": "multipart/form-data"}),
            (400, "bad_multipart"),
        ),
        (
            lambda: Client([PHOTO], {"Content-Type": "multipart/form-data; boundary=xyz"}),
            (400, "bad_multipart"),
        ),
    ],
)
def test_what_holds_no_photo_is_refused_with_its_reason(client, expected):
    assert refusal(client()) == expected


def test_the_declared_length_is_enough_to_refuse():
    client = Client([b"x" * MIB], {"Content-Length": str(100 * MIB)})
    assert refusal(client) == (413, "too_many_bytes")
    assert client.sent == 0


def test_one_byte_too_many_is_refused_and_the_limit_itself_is_not():
    assert len(Client([b"x" * 100]).read(max_bytes=100)) == 100
    assert refusal(Client([b"x" * 101]), max_bytes=100) == (413, "too_many_bytes")
    # Inside a form there is room for the envelope, not for the photo.
    assert refusal(Client(*form("image", b"x" * 101)), max_bytes=100) == (413, "too_many_bytes")


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "multipart/form-data; boundary=xyz"}])
def test_a_chunked_body_of_100_mb_is_cut_off_at_the_limit_in_bounded_memory(headers):
    def chunks():
        if headers:
            yield form("image", b"")[0][0].split(b"\r\n--xyz--")[0]
        for _ in range(1600):
            yield b"x" * (64 * 1024)

    client = Client(chunks(), headers)
    tracemalloc.start()
    try:
        assert refusal(client) == (413, "too_many_bytes")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert client.sent < 1.3 * MIB
    assert peak < 8 * MIB


def test_an_upload_that_trickles_is_given_up():
    client = Client([b"x"] * 1000, delay=0.02)
    assert refusal(client, seconds=0.1) == (408, "upload_too_slow")


def test_a_connection_that_closes_is_a_refusal_not_a_failure():
    client = Client([b"x"])

    async def receive():
        return {"type": "http.disconnect"}

    client.receive = receive
    assert refusal(client) == (400, "upload_cut_off")


def test_draining_ends_with_the_body_and_is_bounded(monkeypatch):
    client = Client([b"x" * MIB] * 3)
    asyncio.run(uploads.drain(client.receive))
    assert client.sent == 3 * MIB
    monkeypatch.setattr(uploads, "_DRAIN_BYTES", 10 * MIB)
    client = Client(b"x" * MIB for _ in range(1000))
    asyncio.run(uploads.drain(client.receive))
    assert client.sent == 10 * MIB
    monkeypatch.setattr(uploads, "_DRAIN_SECONDS", 0.05)
    client = Client((b"x" for _ in range(1000)), delay=0.02)
    asyncio.run(uploads.drain(client.receive))
    assert client.sent < 10
