"""The console's routes: pages that read, and the three steps of an operation."""

from __future__ import annotations

import html
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from components.contracts.errors import InputError, LookalikeError
from components.promote import operations
from components.registry import events
from components.registry.channel import Kind
from components.registry.registry import ConflictError, RefusedError
from serving import log
from serving.access import Access
from serving.console import action_page, channel_page, frame, overview_page, reading, version_page
from serving.console.action_page import Asked
from serving.console.desk import Desk
from serving.console.forms import read_form
from serving.console.session_routes import sign_in_link
from serving.identity.principal import Principal
from serving.problems import Problem
from serving.service import Service

_FORM_SECONDS = 12 * 3600


class Console:
    """The pages for whoever may operate; see `add`."""

    def __init__(self, service: Service, access: Access, desk: Desk | None = None) -> None:
        """Joins what the pages need.

        Args:
            service: The server whose state is shown.
            access: Who may see them.
            desk: For tests.
        """
        self._service = service
        self._access = access
        self._desk = desk or Desk()
        self._last: reading.Overview | None = None

    @property
    def _uri(self) -> str:
        if not self._service.settings.registry:
            raise InputError(
                "this server serves one bundle directory; start it with --registry and --channel"
            )
        return self._service.settings.registry

    @property
    def _channel(self) -> str:
        return self._service.settings.channel or ""

    # Pages that read

    async def overview(self, request: Request) -> Response:
        """What is live."""
        seen, problem = self._last, ""
        try:
            uri = self._uri
            seen = self._last = await self._desk.read(lambda: reading.overview(uri))
        except LookalikeError as error:
            problem = str(error)
            log.event("console cannot read the registry", level=logging.WARNING, reason=problem)
        body = overview_page.render(
            seen, self._service.describe(), channel=self._channel, problem=problem
        )
        return self._show(request, "What is live", body, status=503 if problem else 200)

    async def versions(self, request: Request) -> Response:
        """Every version."""
        uri = self._uri
        seen = await self._desk.read(lambda: reading.overview(uri, limit=None))
        body = f"<h1>{seen.total:,} versions</h1>{overview_page.versions_table(seen)}"
        return self._show(request, "Versions", body)

    async def channel(self, request: Request) -> Response:
        """One channel."""
        uri, name = self._uri, request.path_params["channel"]
        before = request.query_params.get("before", "")
        stop = int(before) if before.isascii() and before.isdigit() and len(before) < 10 else None
        seen = await self._desk.read(lambda: reading.channel(uri, name, before=stop))
        body = channel_page.render(seen, done=request.query_params.get("done", ""))
        return self._show(request, name, body)

    async def version(self, request: Request) -> Response:
        """One version."""
        uri, name = self._uri, request.path_params["version"]
        seen = await self._desk.read(lambda: reading.version(uri, name))
        return self._show(request, name, version_page.render(seen, followed=self._channel))

    async def compare(self, request: Request) -> Response:
        """Two versions."""
        uri = self._uri
        a, b = (request.query_params.get(name, "") for name in ("a", "b"))
        found = await self._desk.read(lambda: reading.difference(uri, a, b))
        return self._show(request, "What would change", version_page.render_comparison(a, b, found))

    # Operations

    async def form(self, request: Request) -> Response:
        """The first step: what is, and the reason."""
        name, kind = request.path_params["channel"], _kind(request)
        asked = Asked(kind, version=request.query_params.get("version", ""))
        return await self._show_form(request, name, asked)

    async def act(self, request: Request) -> Response:
        """The second step, a dry run, and the third, which does it."""
        name, kind = request.path_params["channel"], _kind(request)
        principal = cast(Principal, request.state.principal)
        fields = await read_form(request)
        self._access.check_form(request, principal.name, fields.get("form", ""))
        asked = Asked(
            kind,
            fields.get("version", ""),
            fields.get("reason", "").strip(),
            fields.get("force") == "yes",
            fields.get("expected_live", ""),
        )
        confirmed = fields.get("step") == "confirm"
        if confirmed and asked.force and fields.get("typed", "").strip() != name:
            problem = f"to override gates, type the channel's name, {name}; nothing was changed"
            return await self._show_form(request, name, asked, problem=problem)
        who = action_page.recorded(principal.name)
        try:
            done = await self._desk.act(lambda: self._operate(asked, name, who, confirmed))
        except InputError as error:
            return await self._show_form(request, name, asked, problem=str(error))
        except LookalikeError as error:
            log.event(
                "channel operation failed",
                level=logging.WARNING,
                kind=kind,
                channel=name,
                who=who,
                confirmed=confirmed,
                reason=str(error),
            )
            body = action_page.render_failure(asked, name, str(error))
            return self._show(request, "Not done", body, status=_status(error))
        title = action_page.title(asked, name)
        if confirmed and not done.refused:
            return self._after(name, asked, who, done)
        body = action_page.render_review(asked, name, self._visitor(request), done)
        return self._show(request, title, body, status=409 if done.refused else 200)

    def _operate(self, asked: Asked, channel: str, who: str, confirmed: bool) -> operations.Done:
        return operations.operate(
            asked.kind,
            registry=self._uri,
            channel=channel,
            version=asked.version,
            who=who,
            why=asked.reason,
            force=asked.force,
            dry_run=not confirmed,
            expected_live=asked.expected_live,
        )

    def _after(self, name: str, asked: Asked, who: str, done: operations.Done) -> Response:
        log.event(
            "channel operation",
            kind=asked.kind,
            channel=name,
            version=done.version or asked.version,
            who=who,
            why=asked.reason,
            forced=asked.force,
            moved=done.move is not None,
        )
        if done.event is not None:
            self._desk.later(partial(_announce, done.event))
        query = f"?{urlencode({'done': done.move.id})}" if done.move else ""
        return RedirectResponse(frame.channel_link(name) + query, status_code=303)

    async def _show_form(
        self, request: Request, name: str, asked: Asked, *, problem: str = ""
    ) -> Response:
        uri = self._uri
        seen = await self._desk.read(lambda: reading.channel(uri, name))
        body = action_page.render_form(
            asked, seen.state, self._visitor(request), targets=seen.targets, problem=problem
        )
        title = action_page.title(asked, name)
        return self._show(request, title, body, status=422 if problem else 200)

    # What every page needs

    def _visitor(self, request: Request) -> frame.Visitor:
        principal = cast(Principal, request.state.principal)
        form = self._access.sessions.form_token(request.state.nonce, principal.name)
        return frame.Visitor(principal.name, form, principal.means == "session")

    def _show(self, request: Request, title: str, body: str, *, status: int = 200) -> Response:
        names = [report["channel"] for report in self._last.channels] if self._last else []
        page = frame.page(title, body, self._visitor(request), channels=names)
        response = HTMLResponse(page, status_code=status, headers=frame.HEADERS)
        if self._access.session(request) is None:
            # A proxy says who it is; the forms still have to be bound to this browser.
            self._access.set_cookie(
                response, self._access.form_cookie, request.state.nonce, seconds=_FORM_SECONDS
            )
        return response

    def guarded(
        self, show: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Returns the page for whoever may see it, and a page that says why not for others."""

        async def guard(request: Request) -> Response:
            try:
                request.state.nonce = self._access.form_nonce(request)
                request.state.principal = self._access.require(request, "operate")
            except Problem as problem:
                if problem.reason in ("not_signed_in", "no_operators") and request.method == "GET":
                    query = f"?{request.url.query}" if request.url.query else ""
                    link = sign_in_link(request.url.path + query)
                    return RedirectResponse(link, status_code=303)
                raise
            try:
                return await show(request)
            except Problem as problem:
                return self._trouble(request, problem.detail, problem.status)
            except LookalikeError as error:
                return self._trouble(request, str(error), _status(error))

        return guard

    def _trouble(self, request: Request, text: str, status: int) -> Response:
        box = frame.note(f"<b>Not shown.</b> {html.escape(text)}", "fail")
        body = f"<h1>That did not work</h1>{box}{frame.button('/console', 'Overview')}"
        return self._show(request, "That did not work", body, status=status)

    def close(self) -> None:
        """Lets the threads end."""
        self._desk.close()


def _kind(request: Request) -> Kind:
    kind = request.path_params["kind"]
    if kind not in operations.KINDS:
        raise Problem(404, "not_found", f"expected one of {', '.join(operations.KINDS)}")
    return cast(Kind, kind)


def _status(error: LookalikeError) -> int:
    if isinstance(error, InputError):
        return 404
    return 409 if isinstance(error, ConflictError | RefusedError) else 503


def _announce(event: dict[str, Any]) -> None:
    if problem := events.announce(event):
        log.event("webhook was not told", level=logging.WARNING, reason=problem)


def add(app: FastAPI, service: Service, access: Access) -> Console:
    """Adds the console under `/console`."""
    console = Console(service, access)
    for path, show in (
        ("/console", console.overview),
        ("/console/versions", console.versions),
        ("/console/versions/{version}", console.version),
        ("/console/compare", console.compare),
        ("/console/channels/{channel}", console.channel),
        ("/console/channels/{channel}/{kind}", console.form),
    ):
        app.add_route(path, console.guarded(show), methods=["GET"], include_in_schema=False)
    app.add_route(
        "/console/channels/{channel}/{kind}",
        console.guarded(console.act),
        methods=["POST"],
        include_in_schema=False,
    )
    return console
