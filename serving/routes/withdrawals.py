"""Taking an item out between two builds, and putting it back."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import FastAPI, Query, Request
from starlette.responses import Response

from components.contracts.errors import InputError, LookalikeError
from serving import answers
from serving.access import require_operator
from serving.problems import Problem, shorten
from serving.routes.interface import json_answer, refusals
from serving.service import Service

Why = Annotated[str, Query(max_length=500, description="The reason, for whoever looks later.")]


def add(app: FastAPI, service: Service) -> None:
    """Adds withdrawing and restoring."""

    async def change(request: Request, item_id: str, why: str, *, withdraw: bool) -> Response:
        who = require_operator(request)
        withdrawn = service.withdrawn
        if withdrawn is None:
            raise Problem(
                409,
                "no_registry",
                "this server follows no channel (it was started with --bundle): there is nowhere "
                "to keep a withdrawal",
            )
        bundle = service.bundle()
        if bundle.items.position(item_id) is None and not withdrawn.is_withdrawn(item_id):
            raise Problem(
                404,
                "unknown_item",
                f"item {shorten(item_id)!r} is neither in version {bundle.version} nor withdrawn",
            )
        try:
            changed, items = await asyncio.to_thread(
                withdrawn.change, item_id, withdraw=withdraw, who=who, why=why
            )
        except InputError as error:
            raise Problem(422, "bad_parameter", str(error)) from None
        except (LookalikeError, OSError) as error:
            raise Problem(
                503, "registry_unavailable", f"not changed: {error}", {"Retry-After": "5"}
            ) from None
        content = answers.Withdrawal(
            item_id=item_id, withdrawn=withdraw, changed=changed, items=items
        )
        return json_answer(content.model_dump())

    # Item ids may hold colons and slashes: only the last part of the path is looked at.
    @app.post(
        "/v1/items/{item_id:path}:withdraw",
        response_model=answers.Withdrawal,
        responses=refusals(401, 403, 404, 409, 422, 429, 503),
    )
    async def withdraw(
        request: Request, item_id: str, why: Why = "withdrawn over the API"
    ) -> Response:
        """Shows an item no more, in this and all later bundles, on every server within seconds."""
        return await change(request, item_id, why, withdraw=True)

    @app.post(
        "/v1/items/{item_id:path}:restore",
        response_model=answers.Withdrawal,
        responses=refusals(401, 403, 404, 409, 422, 429, 503),
    )
    async def restore(
        request: Request, item_id: str, why: Why = "restored over the API"
    ) -> Response:
        """Shows a withdrawn item again."""
        return await change(request, item_id, why, withdraw=False)
