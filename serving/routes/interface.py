"""What the API's routes have in common: parameters, refusals and how an answer is sent."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.responses import JSONResponse, Response

from serving import problems
from serving.engine import LoadedBundle

MAX_K = 100
K = Annotated[int, Query(ge=1, le=MAX_K, description="Most results.")]
REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "A refusal with its reason (RFC 9457).",
        "content": {problems.MEDIA_TYPE: {"schema": {"type": "object"}}},
    },
    422: {
        "description": "A parameter or image that cannot be used (RFC 9457).",
        "content": {problems.MEDIA_TYPE: {"schema": {"type": "object"}}},
    },
}


def json_answer(content: Any, bundle: LoadedBundle | None = None, status: int = 200) -> Response:
    """Returns an answer as JSON, with the version that gave it."""
    headers = {"X-Lookalike-Bundle": bundle.version} if bundle else None
    return JSONResponse(content, status_code=status, headers=headers)
