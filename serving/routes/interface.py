"""What the API's routes have in common: parameters, refusals and how an answer is sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import JSONResponse, Response

from serving import problems
from serving.engine import LoadedBundle
from serving.telemetry import Telemetry

MAX_K = 100
K = Annotated[int, Query(ge=1, le=MAX_K, description="Most results.")]
Department = Annotated[
    str, Query(max_length=200, description="Only items of this department: its id or its name.")
]
Taxon = Annotated[
    str, Query(max_length=200, description="Only items at or below this node of the taxonomy.")
]
MinScore = Annotated[
    float,
    Query(ge=-1.0, le=1.0, allow_inf_nan=False, description="Only items at least this alike."),
]
_REFUSALS = {
    400: "The body cannot be read.",
    401: "Nobody in particular asks, or the token is not good.",
    403: "Whoever asks may not.",
    404: "There is no such thing.",
    408: "The body came too slowly.",
    409: "This server cannot.",
    410: "The item is withdrawn.",
    413: "Too many bytes or pixels.",
    415: "No image of a kind that is read.",
    422: "A parameter, header or image cannot be used.",
    429: "Too many requests, or too many wrong tokens, came from this address.",
    503: "No room, no time, no bundle yet, or the registry is away.",
}
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the refusals that a route can give, for its description: each a problem document."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted(statuses):
        found[status] = {
            "description": _REFUSALS[status],
            "content": {
                problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}},
            },
        }
        if status in (429, 503):
            found[status]["headers"] = _RETRY_AFTER
    return found


def json_answer(content: Any, bundle: LoadedBundle | None = None, status: int = 200) -> Response:
    """Returns an answer as JSON, with the version that gave it."""
    headers = {"X-Lookalike-Bundle": bundle.version} if bundle else None
    return JSONResponse(content, status_code=status, headers=headers)


def written_answer(
    write: Callable[[], bytes], bundle: LoadedBundle, telemetry: Telemetry, route: str
) -> Response:
    """Returns an answer, with the version that gave it.

    Args:
        write: Writes it as JSON.
        bundle: The bundle that gave it.
        telemetry: Hears how long writing took.
        route: The route's template.
    """
    started = time.perf_counter()
    content = write()
    telemetry.stage(route, "render", time.perf_counter() - started)
    return Response(
        content, media_type="application/json", headers={"X-Lookalike-Bundle": bundle.version}
    )
