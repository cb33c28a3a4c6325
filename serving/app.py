"""The app: what the routes share, the routes, and the boundary around them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

from fastapi import FastAPI

from serving import api_schema, problems
from serving.access import Access, ClosedSearch
from serving.client_limit import Buckets, ClientLimit
from serving.console import routes as console
from serving.console import session_routes
from serving.engine import Engine
from serving.fast_path import FastPath
from serving.identity.proxies import parse_networks
from serving.metrics import Metrics
from serving.middleware import Boundary
from serving.query_log import QueryLog
from serving.routes import batch, items, metrics, pages, probes, search, withdrawals
from serving.service import Service
from serving.settings import Settings
from serving.telemetry import Telemetry
from serving.tracing import Several, Traces
from serving.trial import Trial
from serving.withdrawals import Withdrawn

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    engine: Engine,
    settings: Settings,
    lifespan: Lifespan | None = None,
    telemetry: Telemetry | None = None,
    *,
    counts: Metrics | None = None,
    traces: Traces | None = None,
    withdrawn: Withdrawn | None = None,
    trial: Trial | None = None,
    queries: QueryLog | None = None,
) -> FastAPI:
    """Returns the app over an engine.

    Args:
        engine: What answers; it may still be empty.
        settings: Limits.
        lifespan: What to start and stop with the app.
        telemetry: Who hears what happens; the metrics and the traces when None.
        counts: The metrics that `/metrics` shows; new ones when None.
        traces: What makes traces; None for none.
        withdrawn: What withdraws items; None where there is no registry to keep that in.
        trial: Another bundle that is tried; None for none.
        queries: Counts what is asked; None for not.

    Raises:
        InputError: A token file or key that the settings name cannot be read.
    """
    counts = counts or Metrics()
    telemetry = telemetry or (Several(counts, traces) if traces else counts)
    access = Access(settings.access, telemetry=telemetry)
    service = Service(engine, settings, telemetry, withdrawn, trial, queries)
    app = FastAPI(
        title="Lookalike",
        version="1",
        lifespan=lifespan,
        docs_url=None,  # They would load scripts from elsewhere.
        redoc_url=None,
    )
    app.state.service = service
    problems.install(app)
    app.state.access = access
    if not settings.access.open_search:
        app.add_middleware(ClosedSearch, access=access)

    def stale() -> str:
        return engine.status.stale

    boundary = partial(
        Boundary,
        version=lambda: engine.version,
        telemetry=telemetry,
        traces=traces,
        stale=stale,
        secure=settings.access.secure,
    )
    app.add_middleware(boundary)
    if settings.access.open_search and traces is None:
        # Who may search is checked the long way, and a trace costs more than this saves.
        app.add_middleware(FastPath, service=service, stale=stale)
    if settings.client_rate > 0:
        app.add_middleware(
            ClientLimit,
            buckets=Buckets(rate=settings.client_rate, burst=settings.client_burst),
            networks=parse_networks(settings.access.trusted_proxies),
            telemetry=telemetry,
            around=boundary,
        )
    metrics.add(app, counts, access)
    session_routes.add(app, access)
    app.state.console = console.add(app, service, access)
    for routes in (probes, pages, search, batch, withdrawals, items):
        routes.add(app, service)
    api_schema.install(app, settings.access, session_cookie=access.session_cookie)
    return app
