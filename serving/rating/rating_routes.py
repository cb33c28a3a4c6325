"""The raters' routes: a pair and its answer, feedback in practice, corrections and breaks."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import quote

from fastapi import FastAPI, Request
from starlette.responses import Response

from components.human_eval.ratings import CANT_TELL
from serving import log
from serving.rating import pages, standing
from serving.rating.admission import RefusedError
from serving.rating.desk import Desk, Task
from serving.rating.front import Desks, nothing_to_do, page, redirect, turn_away
from serving.rating.links import Pass
from serving.rating.sessions import read_form

_BREAK_COOKIE = "lookalike_break"
_NOTES = {
    "doubled": "You have rated that pair before; your first answer stands.",
    "stale": "That page was open for too long, so the answer was not taken. Go on here.",
    "tampered": "That form was not one of ours, so the answer was not taken. Go on here.",
    "other_campaign": "That pair belongs to a campaign that has ended. Go on with this one.",
    "unknown_task": "That pair is not in this campaign. Go on here.",
    "grade_out_of_range": "Choose one of the five answers.",
    "out_of_clock_order": "That page's time is not ours, so the answer was not taken. Go on here.",
    "late_correction": "Answers can be changed for two minutes; that one stands now.",
    "changed": "Your answer was changed.",
}


def add_rating(app: FastAPI, desks: Desks) -> None:
    """Adds the routes under `/rate`, and those around an answer."""
    _add_asides(app, desks)

    @app.get("/rate")
    async def rate(request: Request, note: str = "") -> Response:
        person, desk = desks.rater(request)
        if desk is None:
            return nothing_to_do()
        turned_away = turn_away(desk, person)
        if turned_away is not None:
            return turned_away
        now = time.time()
        stretch = desk.progress(person.name, now=now).stretch_s / 60
        due = int(stretch // desks.break_minutes)
        if due > _whole(request.cookies.get(_BREAK_COOKIE, "")):
            return page(pages.pause(int(stretch)))
        task = await asyncio.to_thread(desk.next_task, person.name, now=now)
        if task is None:
            turned_away = turn_away(desk, person)
            text = (
                "Others are at work on the pairs that are left. This page looks again by itself: "
                "leave it open, or come back later."
            )
            waiting = page(pages.message_page("Nothing for you right now", text, refresh=15))
            return turned_away or waiting
        return _pair_page(desks, desk, person, task, _NOTES.get(note, ""))

    @app.post("/rate")
    async def answer(request: Request) -> Response:
        person, desk = desks.rater(request)
        if desk is None:
            return nothing_to_do()
        fields = await read_form(request)
        turned_away = turn_away(desk, person)
        if not desks.sessions.same_site(request):
            desk.refused["cross_site"] += 1
            return page(pages.message_page("Not taken", "This form came from another site."), 403)
        if turned_away is not None and desk.phase(person.name) != standing.DONE:
            desk.refused["closed" if not desk.open() else "banned"] += 1
            return turned_away
        practising = desk.phase(person.name) == standing.QUALIFYING
        try:
            record = await asyncio.to_thread(
                desk.rate,
                person.name,
                fields.get("token", ""),
                fields.get("grade", ""),
                now=time.time(),
            )
        except RefusedError as error:
            log.event("answer refused", reason=error.reason, campaign=desk.campaign)
            return redirect(f"/rate?note={quote(error.reason)}")
        if practising:
            return redirect("/feedback")
        return redirect("/rate?note=changed" if record.revision else "/rate")


def _add_asides(app: FastAPI, desks: Desks) -> None:
    @app.get("/feedback")
    async def feedback(request: Request) -> Response:
        person, desk = desks.rater(request)
        if desk is None:
            return nothing_to_do()
        found = desk.practice(person.name, now=time.time())
        if found is None:
            return redirect("/rate")
        pair, record, right, progress, (score, asked) = found
        done = ""
        if asked == progress.qualification and score:
            done = f"Practice done: {score} of {asked} right. "
            if progress.phase == standing.LIVE:
                done += "You are in; now comes the real work, without answers."
            elif progress.phase == standing.QUALIFYING:
                done += "Read the guidelines once more; you have one more try with other pairs."
        return page(
            pages.feedback(
                desks.shown(person.name, pair),
                right=right,
                given=CANT_TELL if record.grade is None else str(record.grade),
                gold=str(pair.gold),
                progress=progress,
                done=done,
            )
        )

    @app.get("/correct")
    async def correct(request: Request) -> Response:
        person, desk = desks.rater(request)
        if desk is None:
            return nothing_to_do()
        turned_away = turn_away(desk, person)
        if turned_away is not None:
            return turned_away
        task = desk.correction(person.name, now=time.time())
        if task is None:
            return redirect("/rate?note=late_correction")
        return _pair_page(desks, desk, person, task, "")

    @app.post("/break")
    async def rested(request: Request) -> Response:
        person, desk = desks.rater(request)
        if desk is None:
            return nothing_to_do()
        stretch = desk.progress(person.name, now=time.time()).stretch_s / 60
        answer = redirect("/rate")
        answer.set_cookie(
            _BREAK_COOKIE,
            str(int(stretch // desks.break_minutes)),
            max_age=max(60, int(desks.break_minutes * 60)),
            httponly=True,
            samesite="lax",
            secure=desks.sessions.secure,
        )
        return answer


def _pair_page(desks: Desks, desk: Desk, person: Pass, task: Task, message: str) -> Response:
    now = time.time()
    ahead: tuple[str, ...] = ()
    if task.following is not None:
        following = desks.shown(person.name, task.following)
        ahead = (following.query, following.result)
    return page(
        pages.rating(
            desks.shown(person.name, task.pair),
            task.token,
            desk.progress(person.name, now=now),
            undo=desk.may_correct(person.name, now=now),
            given=task.grade,
            message=message,
            ahead=ahead,
        )
    )


def _whole(text: str) -> int:
    return int(text) if text.isdigit() and len(text) < 6 else 0
