"""The short way to the answers that are asked for most: what looks like an item, or like a photo.

Routing, validating and middleware take several times as long as searching a hundred thousand
items, and half as long as embedding a photo. A plain `GET /v1/items/{item_id}/similar` with nothing
but `k` and `exclude_same_product`, and a plain `POST /v1/search` of a small JPEG with nothing but
`k`, are answered here, with the same search, the same bytes and the same headers, log line and
metrics; tests hold the two ways equal. Everything else, and everything that is refused, goes the
long way.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable
from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.contracts.files import sha256_bytes
from components.search.query import Wanted
from serving import answers, log
from serving.load_shedding import TIMEOUT_HEADER
from serving.middleware import DEFAULT_POLICY, REQUEST_ID, SECURITY_HEADERS
from serving.photos import INLINE_BYTES
from serving.question import KEY_HEADER, PHOTO_ROUTE, SIMILAR_ROUTE, Answer, Call, Question
from serving.routes.interface import MAX_K
from serving.service import Service

_PREFIX, _SUFFIX = "/v1/items/", "/similar"
_BOOLEANS = {"true": True, "false": False}
_MOST_QUERIES_KEPT = 1000
# A small body comes with its headers or right after them; a slow one is the long way's to wait for.
_BODY_SECONDS = 0.05
_FIXED_HEADERS = [
    (b"content-type", b"application/json"),
    *((name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()),
    (b"content-security-policy", DEFAULT_POLICY.encode()),
    (b"cache-control", b"no-store"),
]
_KEY_HEADER = KEY_HEADER.lower().encode()
# What only the long way knows how to honour.
_LONG_WAY_HEADERS = frozenset((TIMEOUT_HEADER.lower().encode(), b"authorization"))


class _Short(NamedTuple):
    """An answer of the short way.

    Attributes:
        content: Its body, JSON.
        request_id: The request's id.
        version: The bundle that gave it.
    """

    content: bytes
    request_id: str
    version: str


class FastPath:
    """Answers plain searches before the app sees them."""

    def __init__(self, app: ASGIApp, service: Service, stale: Callable[[], str]) -> None:
        """Wraps the app.

        Args:
            app: What answers everything else.
            service: What the routes share.
            stale: Returns since when what is served may be out of date; empty when it is not.
        """
        self.app = app
        self._service = service
        self._stale = stale
        self._images = service.settings.images
        self._wanted: dict[bytes, Wanted | None] = {b"": Wanted()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or hands it on."""
        if scope["type"] == "http":
            path: str = scope["path"]
            started = time.perf_counter()
            if scope["method"] == "GET":
                if path.startswith(_PREFIX) and path.endswith(_SUFFIX):
                    answer = self._similar(scope, path[len(_PREFIX) : -len(_SUFFIX)])
                    if answer is not None:
                        await self._send(scope, SIMILAR_ROUTE, started, answer, send)
                        return
            elif path == PHOTO_ROUTE and scope["method"] == "POST":
                answer, receive = await self._photo(scope, receive)
                if answer is not None:
                    await self._send(scope, PHOTO_ROUTE, started, answer, send)
                    return
        await self.app(scope, receive, send)

    async def _send(
        self, scope: Scope, route: str, started: float, answer: _Short, send: Send
    ) -> None:
        """Sends an answer, and tells the log and the metrics."""
        headers = [
            *_FIXED_HEADERS,
            (b"content-length", b"%d" % len(answer.content)),
            (b"x-request-id", answer.request_id.encode("latin-1")),
            (b"x-lookalike-bundle", answer.version.encode()),
        ]
        if stale := self._stale():
            headers.append((b"x-lookalike-stale", stale.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer.content})
        seconds = time.perf_counter() - started
        self._service.telemetry.request(route, scope["method"], 200, seconds)
        log.request(
            method=scope["method"],
            path=scope["path"],
            route=route,
            status=200,
            seconds=seconds,
            request_id=answer.request_id,
            version=answer.version,
        )

    def _similar(self, scope: Scope, item_id: str) -> _Short | None:
        """Returns what looks like an item; None for the long way."""
        service = self._service
        wanted = self._parse(scope["query_string"])
        if wanted is None or service.shedding.lag.is_late:
            return None
        named = _names(scope["headers"])
        if named is None:
            return None
        request_id, key = named
        try:
            bundle = service.choose(key or item_id)
            position = bundle.items.position(item_id)
            if position is None or position in bundle.withdrawn:
                return None
            started = time.perf_counter()
            found = service.retrieval.like_item_now(bundle, position, wanted)
            if found is None:
                return None
            searched = time.perf_counter()
            content = answers.similar_json(bundle, position, wanted, found, images=self._images)
            rendered = time.perf_counter()
        except Exception:
            # The long way fails in the same way, and knows how to tell.
            return None
        service.telemetry.stage(SIMILAR_ROUTE, "search", searched - started)
        service.telemetry.stage(SIMILAR_ROUTE, "render", rendered - searched)
        answer = Answer(bundle, position, wanted, found, searched - started)
        service.note_item(answer, key or item_id, SIMILAR_ROUTE)
        return _Short(content, request_id, bundle.version)

    async def _photo(self, scope: Scope, receive: Receive) -> tuple[_Short | None, Receive]:
        """Returns what looks like a photo; None and the body once more for the long way."""
        service = self._service
        started = time.perf_counter()
        wanted = self._parse(scope["query_string"])
        named = _names(scope["headers"])
        # Whether the query item's product is left out means nothing for a photo.
        if (
            wanted is None
            or not wanted.exclude_same_product
            or b"exclude" in scope["query_string"]
            or named is None
            or service.shedding.lag.is_late
            or not _is_small_jpeg(scope["headers"])
        ):
            return None, receive
        messages, receive = await _read(receive)
        if not messages or messages[-1]["type"] != "http.request":
            return None, receive
        data = b"".join(message.get("body", b"") for message in messages)
        uploaded = time.perf_counter()
        photo = None if messages[-1].get("more_body", False) else service.photos.plain(data)
        if photo is None:
            return None, receive
        service.telemetry.stage(PHOTO_ROUTE, "upload", uploaded - started)
        service.telemetry.stage(PHOTO_ROUTE, "admit", time.perf_counter() - uploaded)
        request_id, key = named
        log.request_id.set(request_id)
        try:
            call = Call(PHOTO_ROUTE, service.shedding.deadline(None))
            key = key or sha256_bytes(data)
            answer = await service.ask_photo(photo, Question(k=wanted.k), key, call)
            answered = time.perf_counter()
            content = answers.search_json(
                answer.bundle, photo.query, answer.wanted, answer.found, images=self._images
            )
        except Exception:
            return None, receive
        service.telemetry.stage(PHOTO_ROUTE, "render", time.perf_counter() - answered)
        return _Short(content, request_id, answer.bundle.version), receive

    def _parse(self, query: bytes) -> Wanted | None:
        """Returns what a query string asks for; None when it is not for the short way."""
        try:
            return self._wanted[query]
        except KeyError:
            pass
        wanted = _parse(query)
        if len(self._wanted) >= _MOST_QUERIES_KEPT:
            self._wanted.clear()
        self._wanted[query] = wanted
        return wanted


def _names(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str] | None:
    """Returns a request's id and key; None when a header asks for the long way."""
    request_id = key = ""
    for name, value in headers:
        if name == b"x-request-id":
            request_id = value.decode("latin-1")
        elif name == _KEY_HEADER:
            key = value.decode("latin-1")
        elif name in _LONG_WAY_HEADERS:
            return None
    if not REQUEST_ID.fullmatch(request_id):
        request_id = uuid.uuid4().hex
    return request_id, key


def _is_small_jpeg(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a body says that it is a JPEG, and how small it is."""
    kind, size = b"", b""
    for name, value in headers:
        if name == b"content-type":
            kind = value
        elif name == b"content-length":
            size = value
    return kind == b"image/jpeg" and size.isdigit() and 0 < int(size) <= INLINE_BYTES


async def _read(receive: Receive) -> tuple[list[Message], Receive]:
    """Reads a small body.

    Returns:
        Its messages, the last one with `more_body` or none at all where it takes too long, and
        what gives them all again and goes on from there.
    """
    messages: list[Message] = []
    # Not cancelled when it takes too long: what it is about to receive would be lost.
    pending: asyncio.Future[Message] | None = None
    until = time.monotonic() + _BODY_SECONDS
    while not messages or messages[-1].get("more_body", False):
        pending = asyncio.ensure_future(receive())
        await asyncio.wait((pending,), timeout=max(0.0, until - time.monotonic()))
        if not pending.done():
            break
        messages.append(pending.result())
        pending = None
    again = iter(list(messages))

    async def from_the_start() -> Message:
        nonlocal pending
        if message := next(again, None):
            return message
        if pending is not None:
            waited, pending = pending, None
            return await waited
        return await receive()

    return messages, from_the_start


def _parse(query: bytes) -> Wanted | None:
    k, exclude = 10, True
    names = set()
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in names:
            return None
        names.add(name)
        if name == "k" and value.isascii() and value.isdigit() and len(value) < 4:
            k = int(value)
            if not 1 <= k <= MAX_K:
                return None
        elif name == "exclude_same_product" and value in _BOOLEANS:
            exclude = _BOOLEANS[value]
        else:
            return None
    return Wanted(k=k, exclude_same_product=exclude)
