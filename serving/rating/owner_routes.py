"""The owner's routes: one page, and what can be done from it."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from fastapi import FastAPI, Request
from starlette.responses import Response

from components.contracts.errors import InputError
from components.human_eval.owner_actions import BAN, LIFT, REISSUE
from components.human_eval.ratings import CANT_TELL
from serving import log
from serving.rating import owner_page, pages
from serving.rating.desk import Desk
from serving.rating.estimates import Estimator
from serving.rating.front import Desks, nothing_to_do, page, picture_answer, redirect
from serving.rating.links import OWNER
from serving.rating.sessions import read_form

_DISPUTES = 24
_SIDE = 320
_DONE = {
    BAN: "Banned. What this rater rated is issued again.",
    LIFT: "The ban is lifted.",
    REISSUE: "Two more ratings are asked for.",
}


def add_owner(app: FastAPI, desks: Desks) -> None:
    """Adds the routes under `/owner`."""
    estimator = Estimator(desks.reception.registry)
    sessions = desks.sessions

    @app.get("/owner")
    async def overview(request: Request, done: str = "") -> Response:
        sessions.require(request, OWNER, desks.campaign)
        desk = desks.reception.desk
        if desk is None:
            return nothing_to_do()
        # So that the table has everybody; raters' own pages do not wait for it.
        await asyncio.to_thread(desk.judge)
        view = _overview(desks, desk, estimator)
        text = owner_page.render(view, csrf=sessions.csrf(request), message=_DONE.get(done, ""))
        return page(text)

    @app.post("/owner/act")
    async def act(request: Request) -> Response:
        person = sessions.require(request, OWNER, desks.campaign)
        desk = desks.reception.desk
        if desk is None:
            return nothing_to_do()
        fields = await read_form(request)
        genuine = sessions.csrf_holds(request, fields.get("csrf", ""))
        if not genuine or not sessions.same_site(request):
            desk.refused["cross_site"] += 1
            text = "This form was not sent from the owner's page. Go back, refresh, try again."
            return page(pages.message_page("Not done", text), 403)
        action, subject = fields.get("action", ""), fields.get("subject", "")
        known = desk.knows_task(subject) if action == REISSUE else desk.knows_rater(subject)
        try:
            if not known:
                raise InputError(f"{action} {subject[:60]!r}: there is none in this campaign")
            desk.act(action, subject, by=person.name, reason=fields.get("reason", "").strip())
        except InputError as error:
            return page(pages.message_page("Not done", str(error)), 400)
        log.event("owner acted", action=action, campaign=desk.campaign)
        return redirect(f"/owner?done={quote(action)}")

    @app.get("/owner/i/{name}")
    async def picture(request: Request, name: str) -> Response:
        sessions.require(request, OWNER, desks.campaign)
        desk = desks.reception.desk
        if desk is None:
            return Response(status_code=404)
        for pair, _ in desk.disputed(_DISPUTES):
            for image in (pair.query_image, pair.result_image):
                if _address(desks, image).endswith(f"/{name}"):
                    return await picture_answer(desk, image, side=_SIDE)
        return Response(status_code=404)


def _address(desks: Desks, image: str) -> str:
    return f"/owner/i/{desks.sessions.keys.name('owner picture', desks.campaign, image)}"


def _overview(desks: Desks, desk: Desk, estimator: Estimator) -> owner_page.Overview:
    board, actions = desk.snapshot()
    disputes = [
        owner_page.Dispute(
            task_id=pair.task_id,
            query=_address(desks, pair.query_image),
            result=_address(desks, pair.result_image),
            answers=[
                (record.rater_id, CANT_TELL if record.grade is None else str(record.grade))
                for record in sorted(records, key=lambda record: record.rater_id)
            ],
            reissued=pair.task_id in actions.extra,
        )
        for pair, records in desk.disputed(_DISPUTES)
    ]
    return owner_page.Overview(
        channel=desk.channel,
        campaign=desk.campaign,
        version=desk.plan.version,
        incumbent=desk.plan.incumbent,
        state=desk.state.state if desk.open() or desk.state.closed else "expired",
        deadline=f"{desk.deadline():%Y-%m-%d %H:%M} UTC",
        complete=board.complete,
        pairs=board.pairs,
        given=board.given,
        needed=board.needed,
        wanted=board.wanted,
        short=board.short,
        raters=board.reports,
        banned=actions.banned,
        estimates=estimator.newest(desk.channel, desk.campaign),
        disputes=disputes,
        set_aside=board.set_aside,
        refused={**desk.refused, **{f"link {k}": n for k, n in desks.refused_links.items()}},
        actions=list(reversed(actions.entries)),
        simulated=desk.allow_simulated,
    )
