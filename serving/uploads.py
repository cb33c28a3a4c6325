"""Reading an uploaded photo without trusting what its sender says about it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from serving.problems import Problem

FIELD = "image"
# Boundaries, part headers and a few small fields around the photo.
_ENVELOPE_BYTES = 64 * 1024
# How much of a refused upload is read and thrown away, so that a client that sends everything
# before it listens gets to hear why; more than that, and the connection is cut.
_DRAIN_BYTES = 256 * 1024 * 1024
_DRAIN_SECONDS = 10.0


async def read_upload(request: Request, *, max_bytes: int, seconds: float) -> bytes:
    """Returns the photo of a request: a raw body, or the multipart field `image`.

    Args:
        request: The request; at most `max_bytes` of its body are held in memory.
        max_bytes: Largest photo, in bytes.
        seconds: Longest time the upload may take.

    Raises:
        Problem: 413 for too many bytes (the declared length is looked at first, the received one
            always), 408 for too slow, 400 for an empty body or broken multipart, 411 never: a
            chunked body is cut off where the limit is.
    """
    multipart = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    limit = max_bytes + (_ENVELOPE_BYTES if multipart else 0)
    try:
        async with asyncio.timeout(seconds):
            _check_declared(request.headers, limit, max_bytes)
            stream = _limited(request, limit, max_bytes)
            data = await (_from_form(request, stream) if multipart else _whole(stream))
    except TimeoutError:
        raise Problem(
            408,
            "upload_too_slow",
            f"expected the whole upload within {seconds:g} seconds",
            {"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise Problem(400, "upload_cut_off", "the connection closed before the end") from None
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    if not data:
        raise Problem(400, "empty_image", "expected an image, received no bytes")
    return data


async def read_body(request: Request, *, max_bytes: int, seconds: float) -> bytes:
    """Returns the whole body of a request.

    Raises:
        Problem: 413 for too many bytes, 408 for too slow, 400 when it breaks off.
    """
    try:
        async with asyncio.timeout(seconds):
            _check_declared(request.headers, max_bytes, max_bytes, "a body")
            return await _whole(_limited(request, max_bytes, max_bytes, "a body"))
    except TimeoutError:
        raise Problem(
            408,
            "upload_too_slow",
            f"expected the whole body within {seconds:g} seconds",
            {"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise Problem(400, "upload_cut_off", "the connection closed before the end") from None


def _too_large(max_bytes: int, what: str = "an image") -> Problem:
    return Problem(
        413,
        "too_many_bytes",
        f"expected {what} of at most {max_bytes} bytes, received more; send a smaller one",
        {"Connection": "close"},
    )


def _check_declared(headers: Headers, limit: int, max_bytes: int, what: str = "an image") -> None:
    declared = headers.get("content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise _too_large(max_bytes, what)


async def _limited(
    request: Request, limit: int, max_bytes: int, what: str = "an image"
) -> AsyncGenerator[bytes, None]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise _too_large(max_bytes, what)
        yield chunk


async def _whole(stream: AsyncGenerator[bytes, None]) -> bytes:
    data = bytearray()
    async with contextlib.aclosing(stream):
        async for chunk in stream:
            data += chunk
    return bytes(data)


async def _from_form(request: Request, stream: AsyncGenerator[bytes, None]) -> bytes:
    async with contextlib.aclosing(stream):
        try:
            form = await MultiPartParser(request.headers, stream, max_files=1, max_fields=8).parse()
        except MultiPartException as error:
            raise Problem(
                400, "bad_multipart", f"expected multipart with a field {FIELD!r}: {error.message}"
            ) from None
    # What else the page's form says: a filter, a comparison. The API looks at none of it.
    request.state.fields = {
        name: value for name, value in form.multi_items() if isinstance(value, str)
    }
    try:
        photo = form.get(FIELD)
        if not isinstance(photo, UploadFile):
            raise Problem(
                400,
                "missing_image",
                f"expected a file in the multipart field {FIELD!r}, received "
                f"{', '.join(sorted(form)) or 'no field'}",
            )
        return await photo.read()
    finally:
        await form.close()


async def drain(receive: Receive) -> None:
    """Reads and forgets the rest of a request, within bounds."""
    left = _DRAIN_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while left > 0:
                message: Message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
