"""The routes of the rating application."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from components.registry.object_store import ObjectStoreError
from serving import log
from serving.rating import guidelines, pages
from serving.rating.boundary import Boundary
from serving.rating.front import Desks, nothing_to_do, page, picture_answer, redirect, turn_away
from serving.rating.links import OWNER
from serving.rating.owner_routes import add_owner
from serving.rating.pictures import KIND
from serving.rating.rating_routes import add_rating
from serving.rating.sessions import NotSignedInError

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(desks: Desks, lifespan: Lifespan | None = None) -> FastAPI:
    """Returns the app.

    Args:
        desks: What the routes share.
        lifespan: What to start and stop with the app.
    """
    app = FastAPI(
        title="Lookalike rating", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.add_middleware(Boundary, secure=desks.sessions.secure)
    app.add_exception_handler(NotSignedInError, _not_signed_in(desks))
    app.add_exception_handler(ObjectStoreError, _store_is_away)
    app.add_exception_handler(404, _not_found)
    _add_probes(app, desks)
    _add_entrance(app, desks)
    add_rating(app, desks)
    _add_pictures(app, desks)
    add_owner(app, desks)
    return app


def _not_signed_in(desks: Desks) -> Any:
    async def answer(request: Request, error: Exception) -> Response:
        del request
        assert isinstance(error, NotSignedInError)
        desks.refused_links[error.reason] += 1
        titles = {"expired": "This link's time is over", "no_link": "Sign in with your link"}
        text = {
            "expired": "Ask whoever sent it for a new one. Everything you rated is kept.",
            "no_link": "Open the personal link that you were sent. It signs you in on this device.",
            "other_campaign": "This link is for another campaign. Ask for a new one.",
            "tampered": "This link is damaged or not ours. Copy it whole, or ask for a new one.",
        }
        title = titles.get(error.reason, "This link does not work")
        status = 401 if error.reason in ("no_link", "expired") else 403
        return page(pages.message_page(title, text[error.reason]), status)

    return answer


async def _store_is_away(request: Request, error: Exception) -> Response:
    del request
    log.event("the registry does not answer", why=str(error))
    text = (
        "The place where ratings are kept does not answer at the moment, so your last answer may "
        "not be saved. Go back, give it again in a moment: nothing is counted twice."
    )
    action = '<a class="button main" href="/rate">Try again</a>'
    answer = page(pages.message_page("One moment", text, action=action), 503)
    answer.headers["Retry-After"] = "5"
    return answer


async def _not_found(request: Request, error: Exception) -> Response:
    del request, error
    action = '<a class="button main" href="/rate">Go on rating</a>'
    return page(pages.message_page("There is nothing here", "", action=action), 404)


def _add_probes(app: FastAPI, desks: Desks) -> None:
    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> Response:
        ready = desks.reception.desk is not None
        content = {"ready": ready, "campaign": desks.campaign}
        return JSONResponse(content, status_code=200 if ready else 503)


def _add_entrance(app: FastAPI, desks: Desks) -> None:
    @app.get("/join")
    async def join(key: str = "") -> Response:
        """Signs in: the link's token becomes a cookie, and leaves the address bar."""
        person = desks.sessions.enter(key, desks.campaign)
        answer = redirect("/owner" if person.role == OWNER else "/welcome")
        desks.sessions.keep(answer, person, key)
        return answer

    @app.get("/")
    async def start() -> Response:
        return redirect("/rate")

    @app.get("/welcome")
    async def welcome(request: Request) -> Response:
        person, desk = desks.rater(request)
        if desk is None:
            return nothing_to_do()
        turned_away = turn_away(desk, person)
        if turned_away is not None:
            return turned_away
        progress = desk.progress(person.name, now=time.time())
        return page(pages.welcome(person.name, progress))

    @app.get("/guidelines")
    async def guide() -> Response:
        return page(pages.guide(None, start="Back to rating"))

    @app.get("/examples/{name}.jpg")
    async def example(name: str) -> Response:
        data = guidelines.example_picture(name)
        if data is None:
            return Response(status_code=404)
        headers = {"Cache-Control": "public, max-age=86400"}
        return Response(data, media_type=KIND, headers=headers)


def _add_pictures(app: FastAPI, desks: Desks) -> None:
    @app.get("/i/{name}")
    async def picture(request: Request, name: str) -> Response:
        person, desk = desks.rater(request)
        image = desks.picture(desk, person.name, name, time.time()) if desk else ""
        if not image:
            return Response(status_code=404)
        assert desk is not None
        return await picture_answer(desk, image)
