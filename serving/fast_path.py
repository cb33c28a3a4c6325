"""The short way to the answer that is asked for most: what looks like an item.

Routing, validating and middleware take several times as long as searching a hundred thousand
items. A plain `GET /v1/items/{item_id}/similar` with nothing but `k` and `exclude_same_product` is
answered here, with the same search, the same bytes and the same headers, log line and metrics;
tests hold the two ways equal. Everything else, and everything that is refused, goes the long way.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Receive, Scope, Send

from serving import answers, log
from serving.middleware import DEFAULT_POLICY, REQUEST_ID, SECURITY_HEADERS
from serving.query import Wanted
from serving.routes.interface import MAX_K
from serving.service import KEY_HEADER, SIMILAR_ROUTE, TIMEOUT_HEADER, Answer, Service

_PREFIX, _SUFFIX = "/v1/items/", "/similar"
_BOOLEANS = {"true": True, "false": False}
_MOST_QUERIES_KEPT = 1000
_FIXED_HEADERS = [
    (b"content-type", b"application/json"),
    *((name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()),
    (b"content-security-policy", DEFAULT_POLICY.encode()),
    (b"cache-control", b"no-store"),
]
_KEY_HEADER = KEY_HEADER.lower().encode()
# What only the long way knows how to honour.
_LONG_WAY_HEADERS = frozenset((TIMEOUT_HEADER.lower().encode(), b"authorization"))


class FastPath:
    """Answers item searches before the app sees them."""

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
        if scope["type"] == "http" and scope["method"] == "GET":
            path: str = scope["path"]
            if path.startswith(_PREFIX) and path.endswith(_SUFFIX):
                started = time.perf_counter()
                answer = self._answer(scope, path[len(_PREFIX) : -len(_SUFFIX)])
                if answer is not None:
                    headers, content, request_id, version = answer
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                    await send({"type": "http.response.body", "body": content})
                    seconds = time.perf_counter() - started
                    self._service.telemetry.request(SIMILAR_ROUTE, "GET", 200, seconds)
                    log.request(
                        method="GET",
                        path=path,
                        route=SIMILAR_ROUTE,
                        status=200,
                        seconds=seconds,
                        request_id=request_id,
                        version=version,
                    )
                    return
        await self.app(scope, receive, send)

    def _answer(
        self, scope: Scope, item_id: str
    ) -> tuple[list[tuple[bytes, bytes]], bytes, str, str] | None:
        """Returns headers, content, request id and version; None for the long way."""
        service = self._service
        wanted = self._parse(scope["query_string"])
        if wanted is None or service.lag.is_late:
            return None
        request_id = key = ""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                request_id = value.decode("latin-1")
            elif name == _KEY_HEADER:
                key = value.decode("latin-1")
            elif name in _LONG_WAY_HEADERS:
                return None
        if not REQUEST_ID.fullmatch(request_id):
            request_id = uuid.uuid4().hex
        try:
            bundle = service.choose(key or item_id)
            position = bundle.items.position(item_id)
            if position is None or position in bundle.withdrawn:
                return None
            started = time.perf_counter()
            found = service.similar_now(bundle, position, wanted)
            if found is None:
                return None
            searched = time.perf_counter()
            content = answers.similar_json(bundle, position, wanted, found, images=self._images)
        except Exception:
            # The long way fails in the same way, and knows how to tell.
            return None
        service.telemetry.stage(SIMILAR_ROUTE, "search", searched - started)
        answer = Answer(bundle, position, wanted, found, searched - started)
        service.note_item(answer, key or item_id, SIMILAR_ROUTE)
        headers = [
            *_FIXED_HEADERS,
            (b"content-length", b"%d" % len(content)),
            (b"x-request-id", request_id.encode("latin-1")),
            (b"x-lookalike-bundle", bundle.version.encode()),
        ]
        if stale := self._stale():
            headers.append((b"x-lookalike-stale", stale.encode()))
        return headers, content, request_id, bundle.version

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
