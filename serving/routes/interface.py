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
REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "A refusal with its reason (RFC 9457).",
        "content": {problems.MEDIA_TYPE: {"schema": {"type": "object"}}},
    },
    422: {
        "description": "A parameter or image that cannot be used (RFC 9457).",
        "content": {problems.MEDIA_TYPE: {"schema": {"type": "object"}}},
    },
    503: {
        "description": "No room, no time or no bundle yet: try again after Retry-After (RFC 9457).",
        "content": {problems.MEDIA_TYPE: {"schema": {"type": "object"}}},
    },
}


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
