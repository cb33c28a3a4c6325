"""Refusals that a client can read: RFC 9457 problem documents."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
_LONGEST_ECHO = 200


class Mistake(BaseModel):
    """One parameter that cannot be used."""

    parameter: str
    message: str
    received: str


class Document(BaseModel):
    """A refusal (RFC 9457); `reason`, `request_id` and `errors` are extensions."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What was expected and what came, for people.")
    instance: str = Field(description="The path that was asked for.")
    reason: str = Field(description="A stable short word to switch on, such as `unknown_item`.")
    request_id: str = Field(description="Under which the log has this request.")
    errors: list[Mistake] | None = Field(
        default=None, description="Where parameters are bad: all of them."
    )


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem.
    """A refusal.

    Attributes:
        status: The HTTP status.
        reason: A stable short word to count and to switch on, such as `unknown_item`.
        detail: What was expected and what came, for people.
        headers: Headers that the answer must carry, such as `Retry-After`.
    """

    def __init__(
        self, status: int, reason: str, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        """Keeps the parts."""
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = headers or {}


def shorten(text: str) -> str:
    """Returns text from a request in a length that an answer may repeat."""
    return text if len(text) <= _LONGEST_ECHO else text[:_LONGEST_ECHO] + "…"


def document(
    status: int, reason: str, detail: str, *, path: str, request_id: str, **more: Any
) -> dict[str, Any]:
    """Returns the members of a problem document; `reason` and `request_id` are extensions."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": shorten(path),
        "reason": reason,
        "request_id": request_id,
        **more,
    }


def respond(
    request: Request,
    status: int,
    reason: str,
    detail: str,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Response:
    """Returns a problem as a response."""
    content = document(
        status,
        reason,
        detail,
        path=request.url.path,
        request_id=request.scope.get("request_id", ""),
        **more,
    )
    return Response(
        json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return respond(request, error.status, error.reason, error.detail, error.headers)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = HTTPStatus(error.status_code).name.lower()
    headers = dict(error.headers) if error.headers else None
    return respond(request, error.status_code, reason, str(error.detail), headers)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [
        {
            "parameter": ".".join(str(part) for part in entry["loc"][1:]) or str(entry["loc"][0]),
            "message": str(entry["msg"]),
            "received": shorten(str(entry.get("input", ""))),
        }
        for entry in error.errors()
    ]
    first = problems[0]
    return respond(
        request,
        422,
        "bad_parameter",
        f"{first['parameter']}: {first['message']}; received {first['received']!r}",
        errors=problems,
    )


def install(app: FastAPI) -> None:
    """Makes an app answer every refusal with a problem document."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
