"""What every answer of the rating application has: security headers, a log line, no traceback."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import log

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # A personal link must not reach another site, and no picture's address a foreign log.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=(), camera=()",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_FAILURE = b"something went wrong here; the log has it. Go back and try again.\n"


class Boundary:
    """The outermost layer around the app."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        """Wraps the app.

        Args:
            app: What answers.
            secure: Whether people reach it over HTTPS.
        """
        self.app = app
        self.secure = secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if self.secure:
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:
            log.logger.exception("request failed")
            if not status:
                head = [(b"content-type", b"text/plain; charset=utf-8")]
                await send_with_headers(
                    {"type": "http.response.start", "status": 500, "headers": head}
                )
                await send_with_headers({"type": "http.response.body", "body": _FAILURE})
        finally:
            # The path alone: a link's token is in the query, and must not be in a log.
            if scope["method"] != "GET" or status >= 400:
                log.event(
                    "request",
                    level=logging.WARNING if status >= 500 else logging.INFO,
                    method=scope["method"],
                    path=scope["path"][:100],
                    status=status,
                    milliseconds=round(1000 * (time.perf_counter() - started), 1),
                )
