"""What every answer has: a request id, security headers, one line in the log, and no traceback."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import log, problems
from serving.telemetry import SILENT, Telemetry
from serving.tracing import Traces
from serving.uploads import drain

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=()",
}
_HTTPS_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}
DEFAULT_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Probes come every few seconds and say nothing while all is well.
_QUIET_PATHS = ("/healthz", "/readyz")


class Boundary:
    """The outermost layer around the app."""

    def __init__(
        self,
        app: ASGIApp,
        version: Callable[[], str],
        telemetry: Telemetry = SILENT,
        traces: Traces | None = None,
        stale: Callable[[], str] = str,
        *,
        secure: bool = False,
    ) -> None:
        """Wraps the app.

        Args:
            app: What answers.
            version: Returns the version being served, for the log.
            telemetry: Who hears of every request.
            traces: What makes traces; None for none.
            stale: Returns since when what is served may be out of date; empty when it is not.
            secure: Whether browsers come over https, and are to stay there.
        """
        self.app = app
        self.headers = SECURITY_HEADERS | (_HTTPS_HEADERS if secure else {})
        self.version = version
        self.stale = stale
        self.telemetry = telemetry
        self.traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope["request_id"] = request_id
        log.request_id.set(request_id)
        span = None
        if self.traces is not None:
            span, trace_id = self.traces.begin(scope)
            log.trace_id.set(trace_id)
        started = time.perf_counter()
        status = 0
        body_read = False

        async def receive_noting() -> Message:
            nonlocal body_read
            message = await receive()
            body_read = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", DEFAULT_POLICY)
                headers.setdefault("Cache-Control", "no-store")
                if since := self.stale():
                    headers["X-Lookalike-Stale"] = since
            elif status in (408, 413) and not message.get("more_body", False) and not body_read:
                # The answer goes out whole now, and the connection is closed only when the client
                # has had time to finish sending: closing at once resets it before it reads.
                await send({**message, "more_body": True})
                await drain(receive)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        try:
            await self.app(scope, receive_noting, send_with_headers)
        except Exception:
            log.logger.exception("request failed", extra={"fields": {"request_id": request_id}})
            if not status:
                await _send_failure(scope, request_id, send_with_headers)
        finally:
            path, method = scope["path"], scope["method"]
            route = _route(scope)
            seconds = time.perf_counter() - started
            self.telemetry.request(route, method, status, seconds)
            if span is not None and self.traces is not None:
                self.traces.end(
                    span, method=method, route=route, status=status, version=self.version()
                )
            if status >= 500 or path not in _QUIET_PATHS:
                log.event(
                    "request",
                    level=logging.WARNING if status >= 500 else logging.INFO,
                    method=method,
                    path=problems.shorten(path),
                    route=route,
                    status=status,
                    milliseconds=round(1000 * seconds, 1),
                    request_id=request_id,
                    version=self.version(),
                )


def _route(scope: Scope) -> str:
    """Returns the template of the route that answered: paths hold item ids."""
    route = scope.get("route")
    return getattr(route, "path_format", "") or getattr(route, "path", "") or "unmatched"


async def _send_failure(scope: Scope, request_id: str, send: Send) -> None:
    content = problems.document(
        500,
        "internal_error",
        "something went wrong here; the log has it under the request id",
        path=scope["path"],
        request_id=request_id,
    )
    body = json.dumps(content).encode()
    headers = [
        (b"content-type", problems.MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
