"""Many items in one request."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from serving import answers
from serving.problems import Problem
from serving.question import BATCH_ROUTE, KEY_HEADER, Question
from serving.routes.interface import MAX_K, refusals, written_answer
from serving.service import Service
from serving.uploads import read_body

_BODY_BYTES = 1024 * 1024


class BatchQuery(BaseModel):
    """What looks like each of these items."""

    model_config = ConfigDict(extra="forbid")

    item_ids: list[Annotated[str, Field(max_length=1000)]] = Field(min_length=1)
    k: int = Field(default=10, ge=1, le=MAX_K, description="Most results an item.")
    department: str = Field(default="", max_length=200, description="Its id or its name.")
    taxon: str = Field(default="", max_length=200, description="The id of any node.")
    min_score: float = Field(default=-1.0, ge=-1.0, le=1.0, allow_inf_nan=False)
    exclude_same_product: bool = True


def add(app: FastAPI, service: Service) -> None:
    """Adds the batch."""
    images = service.settings.images
    schema = BatchQuery.model_json_schema()
    schema["properties"]["item_ids"]["maxItems"] = service.settings.max_batch_items
    body = {"required": True, "content": {"application/json": {"schema": schema}}}

    @app.post(
        "/v1/batch",
        response_model=answers.BatchAnswer,
        responses=refusals(400, 408, 413, 422, 429, 503),
        openapi_extra={"requestBody": body},
    )
    async def batch(request: Request) -> Response:
        """What looks like each of many items; an item without an answer has its own error."""
        call = service.shedding.call(request, BATCH_ROUTE)
        # Read by hand: the framework would take in any number of bytes before it looks at them.
        data = await read_body(
            request, max_bytes=_BODY_BYTES, seconds=service.settings.upload_seconds
        )
        asked = _parse(data, service.settings.max_batch_items)
        # One bundle answers them all, so the whole batch hangs on one key.
        key = request.headers.get(KEY_HEADER) or asked.item_ids[0]
        question = Question(**asked.model_dump(exclude={"item_ids"}))
        bundle, wanted, found = await service.ask_items(asked.item_ids, question, key, call)
        entries = [
            (item_id, answers.Refusal(reason=one.reason, detail=one.detail))
            if isinstance(one, Problem)
            else (item_id, one)
            for item_id, one in found
        ]

        def write() -> bytes:
            return answers.batch_json(bundle, wanted, entries, images=images)

        return written_answer(write, bundle, service.telemetry, BATCH_ROUTE)


def _parse(data: bytes, most: int) -> BatchQuery:
    try:
        asked = BatchQuery.model_validate_json(data)
    except ValidationError as error:
        raise RequestValidationError(
            [{**entry, "loc": ("body", *entry["loc"])} for entry in error.errors(include_url=False)]
        ) from None
    if len(asked.item_ids) > most:
        raise Problem(
            422,
            "bad_parameter",
            f"item_ids: expected at most {most} items, received {len(asked.item_ids)}",
        )
    return asked
