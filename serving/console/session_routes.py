"""Signing in and out."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from serving.access import Access
from serving.console import frame, sign_in_page
from serving.console.forms import read_form
from serving.problems import Problem

_FORM_SECONDS = 3600


def sign_in_link(following: str) -> str:
    """Returns the address of the page to sign in on."""
    return f"/login?next={quote(following, safe='')}"


def _ours(following: str) -> str:
    """Returns where to go after signing in: never to another site."""
    plain = following.startswith("/") and not following.startswith(("//", "/\\"))
    return following if plain and following.isprintable() else "/console"


def add(app: FastAPI, access: Access) -> None:
    """Adds `/login` and `/logout`."""

    def show(request: Request, following: str, *, status: int = 200, problem: str = "") -> Response:
        nonce = access.form_nonce(request)
        visitor = frame.Visitor(form=access.sessions.form_token(nonce, ""))
        body = sign_in_page.render(
            visitor,
            following=following,
            possible=bool(access.tokens.entries()),
            problem=problem,
        )
        page = frame.page("Sign in", body, visitor)
        response = HTMLResponse(page, status_code=status, headers=frame.HEADERS)
        access.set_cookie(response, access.form_cookie, nonce, seconds=_FORM_SECONDS)
        return response

    @app.get("/login", include_in_schema=False)
    def form(request: Request, next: str = "/console") -> Response:  # noqa: A002 - it is the name in the address.
        return show(request, _ours(next))

    @app.post("/login", include_in_schema=False)
    async def sign_in(request: Request) -> Response:
        fields = await read_form(request)
        following = _ours(fields.get("next", ""))
        try:
            access.check_form(request, "", fields.get("form", ""))
            cookie = access.sign_in(request, fields.get("token", "").strip())
        except Problem as problem:
            response = show(request, following, status=problem.status, problem=problem.detail)
            for name in ("Retry-After",):
                if name in problem.headers:
                    response.headers[name] = problem.headers[name]
            return response
        response = RedirectResponse(following, status_code=303)
        seconds = int(3600 * access.config.session_hours)
        access.set_cookie(response, access.session_cookie, cookie, seconds=seconds)
        access.set_cookie(response, access.form_cookie, "", seconds=0)
        return response

    @app.post("/logout", include_in_schema=False)
    async def sign_out(request: Request) -> Response:
        fields = await read_form(request)
        if session := access.session(request):
            access.check_form(request, session.principal.name, fields.get("form", ""))
        response = RedirectResponse("/login", status_code=303)
        access.set_cookie(response, access.session_cookie, "", seconds=0)
        return response
