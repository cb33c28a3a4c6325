"""The app: what the routes share, the routes, and the boundary around them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI

from serving import problems
from serving.engine import Engine
from serving.middleware import Boundary
from serving.routes import items, pages, probes, search
from serving.service import Service
from serving.settings import Settings
from serving.telemetry import SILENT, Telemetry

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    engine: Engine,
    settings: Settings,
    lifespan: Lifespan | None = None,
    telemetry: Telemetry = SILENT,
) -> FastAPI:
    """Returns the app over an engine.

    Args:
        engine: What answers; it may still be empty.
        settings: Limits.
        lifespan: What to start and stop with the app.
        telemetry: Who hears what happens.
    """
    service = Service(engine, settings, telemetry)
    app = FastAPI(
        title="Lookalike",
        description="Similar items and search by photo.",
        version="1",
        lifespan=lifespan,
        docs_url=None,  # They would load scripts from elsewhere.
        redoc_url=None,
    )
    app.state.service = service
    problems.install(app)
    app.add_middleware(Boundary, version=lambda: engine.version)
    for routes in (probes, pages, search, items):
        routes.add(app, service)
    return app
