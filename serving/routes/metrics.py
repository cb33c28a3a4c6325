"""What Prometheus reads."""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.responses import Response

from serving.access import Access
from serving.metrics import CONTENT_TYPE, Metrics


def add(app: FastAPI, metrics: Metrics, access: Access) -> None:
    """Adds `/metrics`, for who may read them."""

    @app.get("/metrics", include_in_schema=False)
    def read(request: Request) -> Response:
        access.require(request, "metrics")
        # Set here: Starlette adds a charset of its own to a text type.
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})
