"""Signing in by personal link: the link's token becomes an HttpOnly cookie, nothing is stored."""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from serving.rating.links import OWNER, RATER, BadTokenError, Pass, Secrets

COOKIES = {RATER: "lookalike_rater", OWNER: "lookalike_owner"}
_PATHS = {RATER: "/", OWNER: "/owner"}
_LARGEST_FORM = 16 * 1024


class NotSignedInError(Exception):
    """Who asks has no session, or one that holds no longer; the text is for people.

    Attributes:
        reason: `no_link`, `tampered`, `expired` or `other_campaign`.
    """

    def __init__(self, reason: str, text: str) -> None:
        """Keeps the reason beside the text."""
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Sessions:
    """Who may do what.

    Attributes:
        keys: What links are signed with.
        channel: The channel that this server is for.
        url: Where people reach it.
    """

    keys: Secrets
    channel: str
    url: str

    @property
    def secure(self) -> bool:
        """Whether people reach the server over HTTPS."""
        return urlsplit(self.url).scheme == "https"

    def enter(self, token: str, campaign: str) -> Pass:
        """Checks a link.

        Raises:
            NotSignedInError: It is not good here.
        """
        try:
            found = Pass.read(self.keys, token, now=time.time())
        except BadTokenError as error:
            raise NotSignedInError(error.reason, str(error)) from None
        if found.channel != self.channel or found.campaign not in ("", campaign):
            raise NotSignedInError("other_campaign", "this link is for another campaign")
        if found.role not in COOKIES:
            raise NotSignedInError("tampered", "this link is of no known kind")
        return found

    def require(self, request: Request, role: str, campaign: str) -> Pass:
        """Returns who asks.

        Raises:
            NotSignedInError: Nobody who may.
        """
        token = request.cookies.get(COOKIES[role], "")
        if not token:
            raise NotSignedInError("no_link", "open your personal link to sign in")
        found = self.enter(token, campaign)
        if found.role != role:
            raise NotSignedInError("tampered", "this link does not open this page")
        return found

    def keep(self, response: Response, person: Pass, token: str) -> None:
        """Puts a session into an answer; it lives as long as the link."""
        response.set_cookie(
            COOKIES[person.role],
            token,
            max_age=max(1, int(person.expires - time.time())),
            path=_PATHS[person.role],
            secure=self.secure,
            httponly=True,
            # Not strict: a link opened from a mail must find its session in the next request.
            samesite="lax",
        )

    def same_site(self, request: Request) -> bool:
        """Returns whether a form was sent by one of our own pages, as far as the browser says."""
        site = request.headers.get("sec-fetch-site", "same-origin")
        if site not in ("same-origin", "none"):
            return False
        origin = request.headers.get("origin")
        if not origin:
            return True
        host = urlsplit(origin).netloc
        return host in (request.headers.get("host", ""), urlsplit(self.url).netloc)

    def csrf(self, request: Request) -> str:
        """Returns what the owner's forms must send back: bound to the session."""
        return self.keys.name("csrf", request.cookies.get(COOKIES[OWNER], ""))

    def csrf_holds(self, request: Request, given: str) -> bool:
        """Returns whether a form is one that this session was given."""
        return hmac.compare_digest(given.encode(), self.csrf(request).encode())


async def read_form(request: Request) -> dict[str, str]:
    """Returns a form's fields; what is too large or no form has none."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_FORM:
            return {}
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=20)
    except (UnicodeDecodeError, ValueError):
        return {}
    return {name: values[-1] for name, values in fields.items()}
