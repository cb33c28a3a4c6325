"""What the routes share: the open desk, who asks, addresses of pictures, and plain pages."""

from __future__ import annotations

import asyncio
from collections import Counter

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from components.contracts.images import BadImageError
from components.human_eval.plan import Pair
from components.human_eval.ratings import SIMULATED_PREFIX
from serving import log
from serving.rating import pages, standing
from serving.rating.desk import Desk
from serving.rating.links import RATER, Pass
from serving.rating.pictures import KIND
from serving.rating.reception import Reception
from serving.rating.sessions import Sessions

# A picture's address means nothing and is the rater's own, so a browser may keep it.
_PICTURE_HEADERS = {"Cache-Control": "private, max-age=3600, immutable"}


class Desks:
    """What the routes share."""

    def __init__(
        self, reception: Reception, sessions: Sessions, *, break_minutes: float = 20.0
    ) -> None:
        """Keeps what was made elsewhere.

        Args:
            reception: Which campaign is open.
            sessions: Who may do what.
            break_minutes: Minutes of rating after which a break is suggested.
        """
        self.reception = reception
        self.sessions = sessions
        self.break_minutes = break_minutes
        self.refused_links: Counter[str] = Counter()

    @property
    def campaign(self) -> str:
        """The open campaign's id; empty when there is none."""
        return self.reception.desk.campaign if self.reception.desk else ""

    def rater(self, request: Request) -> tuple[Pass, Desk | None]:
        """Returns who asks, and the open desk.

        Raises:
            NotSignedInError: Nobody who may rate.
        """
        return self.sessions.require(request, RATER, self.campaign), self.reception.desk

    def shown(self, rater_id: str, pair: Pair) -> pages.Shown:
        """Returns a pair as a rater sees it."""
        titles = self.reception.desk.titles if self.reception.desk else {}
        return pages.Shown(
            self.address(rater_id, pair, "query"),
            self.address(rater_id, pair, "result"),
            titles.get(pair.task_id, ""),
        )

    def address(self, rater_id: str, pair: Pair, part: str) -> str:
        """Returns the address of a picture: meaningless, and another one for each rater and pair.

        The same address twice would tell that a picture came back, and whose result it was.
        """
        name = self.sessions.keys.name("picture", self.campaign, rater_id, pair.task_id, part)
        return f"/i/{name}"

    def picture(self, desk: Desk, rater_id: str, name: str, now: float) -> str:
        """Returns the image of an address among those that the rater may see now; else nothing."""
        for pair in desk.visible(rater_id, now=now):
            for part, image in (("query", pair.query_image), ("result", pair.result_image)):
                if self.address(rater_id, pair, part) == f"/i/{name}":
                    return image
        return ""


def page(text: str, status: int = 200) -> Response:
    """Returns a page with the policy that its script and style were hashed for."""
    headers = {"Content-Security-Policy": pages.CONTENT_SECURITY_POLICY}
    return HTMLResponse(text, status_code=status, headers=headers)


def redirect(path: str) -> Response:
    """Returns the way to another page, by GET."""
    return RedirectResponse(path, status_code=303)


def nothing_to_do() -> Response:
    """Returns the page for a channel without a campaign."""
    text = "No campaign is running at the moment. This page looks again by itself."
    return page(pages.message_page("Nothing to rate", text, refresh=30))


def turn_away(desk: Desk, person: Pass) -> Response | None:
    """Returns the page for somebody who may not rate here, or when all is over; else None."""
    if person.name.startswith(SIMULATED_PREFIX) and not desk.allow_simulated:
        text = "The channel's policy takes no ratings of simulated raters."
        return page(pages.message_page("Not here", text), 403)
    if not desk.open():
        text = "This campaign has ended. Thank you: every answer you gave was kept."
        return page(pages.message_page("All done", text, refresh=60))
    texts = {
        standing.BANNED: (
            "Thank you for your time",
            "Your ratings are not taken any more. Ask the campaign's owner if you think that "
            "this is a mistake.",
        ),
        standing.NOT_ADMITTED: (
            "Thank you for your time",
            "Your answers differ too much from the known ones, or from those of the others, to "
            "count. That happens; this task does not suit everybody.",
        ),
        standing.DONE: (
            "You have done your share",
            "No rater gives more than a quarter of all ratings, and you have given yours. "
            "Thank you!",
        ),
    }
    phase = desk.phase(person.name)
    if phase in texts:
        return page(pages.message_page(*texts[phase]), 200 if phase == standing.DONE else 403)
    return None


async def picture_answer(desk: Desk, image: str, *, side: int = 0) -> Response:
    """Returns a picture; of one that cannot be shown, that it is not there."""
    try:
        data = await asyncio.to_thread(desk.pictures.read, image, side=side)
    except BadImageError as error:
        log.event("a picture cannot be shown", image=image, why=str(error))
        return Response(status_code=404)
    return Response(data, media_type=KIND, headers=_PICTURE_HEADERS)
