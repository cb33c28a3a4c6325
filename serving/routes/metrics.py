"""What Prometheus reads."""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.responses import Response

from serving.access import Access
from serving.metrics import CONTENT_TYPE, Metrics
from serving.routes.interface import refusals

_TEXT = {"schema": {"type": "string"}}


def add(app: FastAPI, metrics: Metrics, access: Access) -> None:
    """Adds `/metrics`, for who may read them."""

    @app.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {"description": "Everything.", "content": {"text/plain": _TEXT}},
            **refusals(401, 403, 429, 503),
        },
    )
    def read(request: Request) -> Response:
        """What the server counts and times, in Prometheus' text format."""
        access.require(request, "metrics")
        # Set here: Starlette adds a charset of its own to a text type.
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})
