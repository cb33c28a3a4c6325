"""Who may do what: one place decides, for the API, the metrics and the console.

Three means of being known, in this order: a bearer token; Google's Identity-Aware Proxy or a header
of a trusted proxy; a browser's session, which a token opened at `/login`. The last two ride along
with whatever a browser sends, so where they would change something the request must come from our
own page.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from fastapi import Request
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving import log
from serving.identity import iap, proxies
from serving.identity.config import AccessConfig
from serving.identity.principal import Principal, Right
from serving.identity.sessions import Session, Sessions, read_key
from serving.identity.throttle import Throttle
from serving.identity.tokens import Tokens
from serving.problems import Problem, respond
from serving.telemetry import SILENT, Telemetry

_SAFE = ("GET", "HEAD", "OPTIONS")
_EVERYBODY: frozenset[Right] = frozenset({"search"})
_OPERATOR: frozenset[Right] = frozenset({"operate"})


class Access:
    """Recognises who asks and decides what they may do."""

    def __init__(
        self,
        config: AccessConfig,
        *,
        environment: Mapping[str, str] = os.environ,
        telemetry: Telemetry = SILENT,
        throttle: Throttle | None = None,
        verifier: iap.IapVerifier | None = None,
    ) -> None:
        """Reads tokens and keys.

        Args:
            config: The settings.
            environment: Where `LOOKALIKE_TOKEN` may be.
            telemetry: Who hears of refusals.
            throttle: For tests.
            verifier: For tests.

        Raises:
            InputError: A file cannot be read, or holds something else.
        """
        self.config = config
        self._telemetry = telemetry
        self.tokens = Tokens(config.token_file, environment)
        self.sessions = Sessions(
            read_key(config.session_key_file), seconds=3600 * config.session_hours
        )
        self.throttle = throttle or Throttle()
        self._networks = proxies.parse_networks(config.trusted_proxies)
        self._verifier = verifier
        if verifier is None and config.iap_audience:
            self._verifier = iap.IapVerifier(config.iap_audience)
        prefix = "__Host-" if config.secure else ""
        self.session_cookie = f"{prefix}lookalike_session"
        self.form_cookie = f"{prefix}lookalike_form"

    @property
    def possible(self) -> bool:
        """Whether anybody can be recognised at all."""
        return bool(self.tokens.entries() or self.config.operators)

    def address(self, connection: HTTPConnection) -> str:
        """Returns the address that asks, as far as it can be believed."""
        return proxies.client_address(connection, self._networks)

    def identify(self, connection: HTTPConnection) -> Principal | None:
        """Returns who asks; None for anybody.

        Raises:
            Problem: 401: a token was given that is not good. 429: too many such before. 503: an
                assertion was given that cannot be checked yet.
        """
        given = connection.headers.get("authorization")
        if given is not None:
            return self._by_token(connection, given)
        if found := self._by_proxy(connection):
            return found
        session = self.session(connection)
        return session.principal if session else None

    def session(self, connection: HTTPConnection) -> Session | None:
        """Returns the session of a browser that has signed in."""
        cookie = connection.cookies.get(self.session_cookie, "")
        return self.sessions.read(cookie, self.tokens.entries()) if cookie else None

    def require(self, request: HTTPConnection, right: Right) -> Principal:
        """Returns who asks, when they may.

        Raises:
            Problem: 401: nobody in particular asks. 403: they may not, nobody may, or the request
                was made by another site's page. 429, 503: as `identify`.
        """
        try:
            return self._require(request, right)
        except Problem as problem:
            self._telemetry.refused(problem.reason)
            raise

    def _require(self, request: HTTPConnection, right: Right) -> Principal:
        if not self.possible:
            raise Problem(
                403,
                "no_operators",
                "this server knows nobody who may; start it with LOOKALIKE_TOKEN_FILE or an "
                "identity-aware proxy (docs/serving.md, Who may do what)",
            )
        principal = self.identify(request)
        if principal is None:
            raise Problem(
                401,
                "not_signed_in",
                "expected the header Authorization: Bearer TOKEN",
                {"WWW-Authenticate": 'Bearer realm="lookalike"'},
            )
        if not principal.may(right):
            raise Problem(403, "not_allowed", f"{principal.name} may not {right} here")
        if principal.means != "token" and request.scope.get("method") not in _SAFE:
            self.require_same_origin(request)
        return principal

    def require_same_origin(self, request: HTTPConnection) -> None:
        """Refuses what another site's page made a browser send.

        Raises:
            Problem: 403: the request says that it comes from elsewhere.
        """
        site = request.headers.get("sec-fetch-site")
        origin = request.headers.get("origin")
        good = site in (None, "same-origin")
        if origin is not None and not (origin == "null" and site == "same-origin"):
            ours = urlsplit(self.config.public_url).netloc or request.headers.get("host", "")
            good = good and urlsplit(origin).netloc == ours
        if not good:
            log.event(
                "request of another site refused", level=logging.WARNING, origin=origin, site=site
            )
            raise Problem(403, "other_site", "expected a request from this server's own page")

    def sign_in(self, request: Request, token: str) -> str:
        """Returns the session cookie of whoever has the token.

        Raises:
            Problem: 401: nobody has it. 429: too many wrong ones before.
        """
        principal = self._check(request, token)
        log.event("signed in", who=principal.name, address=self.address(request))
        return self.sessions.open(principal)

    def form_nonce(self, request: Request) -> str:
        """Returns what this browser's forms are bound to: that of its cookie, or a new one."""
        if session := self.session(request):
            return session.nonce
        return request.cookies.get(self.form_cookie, "") or secrets.token_urlsafe(16)

    def check_form(self, request: Request, name: str, token: str) -> None:
        """Refuses a form that was not made by us, for this browser and this name.

        Raises:
            Problem: 403: it was not; the reason says what to do.
        """
        self.require_same_origin(request)
        session = self.session(request)
        nonce = session.nonce if session else request.cookies.get(self.form_cookie, "")
        if not self.sessions.check_form(nonce, name, token):
            raise Problem(
                403, "stale_form", "this form is no longer good: go back, reload, send it again"
            )

    def set_cookie(self, response: Response, name: str, value: str, *, seconds: int) -> None:
        """Adds a cookie that only we get, only over what it came by, and no script can read."""
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path="/",
            secure=self.config.secure,
            httponly=True,
            samesite="strict",
        )

    def _by_token(self, connection: HTTPConnection, given: str) -> Principal:
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer":
            raise Problem(
                401,
                "bad_credentials",
                "expected the header Authorization: Bearer TOKEN, received another scheme",
                {"WWW-Authenticate": 'Bearer realm="lookalike"'},
            )
        return self._check(connection, token.strip())

    def _check(self, connection: HTTPConnection, token: str) -> Principal:
        address = self.address(connection)
        if wait := self.throttle.wait(address):
            seconds = int(wait) + 1
            raise Problem(
                429,
                "too_many_attempts",
                f"too many wrong tokens came from {address or 'here'}; try again in {seconds} s",
                {"Retry-After": str(seconds)},
            )
        principal = self.tokens.find(token)
        if principal is None:
            self.throttle.failed(address)
            log.event("wrong token", level=logging.WARNING, address=address)
            raise Problem(
                401,
                "bad_credentials",
                "nobody here has this token",
                {"WWW-Authenticate": 'Bearer realm="lookalike", error="invalid_token"'},
            )
        self.throttle.succeeded(address)
        return principal

    def _by_proxy(self, connection: HTTPConnection) -> Principal | None:
        if self._verifier and (assertion := connection.headers.get(iap.HEADER)):
            try:
                name = self._verifier.email(assertion)
            except iap.KeysUnavailableError:
                raise Problem(
                    503,
                    "identity_unavailable",
                    "Google's keys that would show who asks are not here yet",
                    {"Retry-After": "5"},
                ) from None
            if not name:
                raise Problem(401, "bad_credentials", "the proxy's signed assertion is not good")
            return self._named(name, "iap")
        header = self.config.identity_header
        if header and proxies.from_proxy(connection, self._networks):
            values = connection.headers.getlist(header)
            # Two of them: one may be the client's own, and we cannot tell which.
            if len(values) == 1 and values[0]:
                return self._named(values[0].removeprefix("accounts.google.com:"), "proxy")
        return None

    def _named(self, name: str, means: str) -> Principal:
        rights = _OPERATOR if self.config.is_operator(name) else _EVERYBODY
        return Principal(name, rights, "iap" if means == "iap" else "proxy")


class ClosedSearch:
    """Lets nobody search who may not, where searching is not open.

    The probes answer everybody; signing in, the metrics and the console look for themselves.
    """

    _OPEN = ("/healthz", "/readyz", "/version", "/login", "/logout", "/metrics")

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Wraps the app."""
        self.app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] == "http" and scope["path"] not in self._OPEN:
            request = Request(scope)
            try:
                self._access.require(request, "search")
            except Problem as problem:
                await self._refuse(request, problem)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    @staticmethod
    def _refuse(request: Request, problem: Problem) -> Response:
        page = "text/html" in request.headers.get("accept", "")
        if page and request.method == "GET" and problem.reason in ("not_signed_in", "no_operators"):
            following = quote(request.url.path, safe="")
            return RedirectResponse(f"/login?next={following}", status_code=303)
        return respond(request, problem.status, problem.reason, problem.detail, problem.headers)


def require_operator(request: Request) -> str:
    """Returns who acts on items, such as withdrawing one.

    Raises:
        Problem: 401, 403, 429 or 503: see `Access.require`.
    """
    access: Access = request.app.state.access
    return access.require(request, "withdraw").name
