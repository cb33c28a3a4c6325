"""The owner's page: progress, estimates with bounds, rater quality, what is disputed."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from components.contracts.page import table, tiles
from components.contracts.verdict import Check
from components.human_eval.owner_actions import Action
from components.human_eval.raters import RaterReport
from serving.rating import guidelines
from serving.rating.pages import meter, notice, shell

_STANDING = {
    "counted": "counts",
    "unqualified": "in practice",
    "banned_golds": "fails the golds",
    "banned_peers": "disagrees with the others",
    "banned": "banned by you",
}


@dataclass(frozen=True)
class Estimates:
    """What the ratings say so far, worked out aside from the server.

    Attributes:
        status: `pass`, `fail`, `undecided` or `expired`, if one looked now.
        checks: With bounds and reasons.
        alpha: Krippendorff's ordinal alpha; None where undefined.
        youden: Youden's J of the aggregated label on golds, and its lower bound.
        seconds: Median seconds of an answer; None without answers.
        at: When this was worked out, in words.
        error: Why there is nothing, in words.
    """

    status: str = ""
    checks: tuple[Check, ...] = ()
    alpha: float | None = None
    youden: tuple[float | None, float | None] = (None, None)
    seconds: float | None = None
    at: str = ""
    error: str = ""


@dataclass(frozen=True)
class Dispute:
    """One pair on which raters differ.

    Attributes:
        task_id: The pair.
        query: Address of the query's picture.
        result: Address of the result's picture.
        answers: Rater and grade.
        reissued: Whether more ratings have been asked for.
    """

    task_id: str
    query: str
    result: str
    answers: Sequence[tuple[str, str]]
    reissued: bool


@dataclass(frozen=True)
class Overview:
    """Everything on the page.

    Attributes:
        channel: The channel.
        campaign: The campaign's id.
        version: The candidate.
        incumbent: What it is compared with; empty for nothing.
        state: `running` or how it ended.
        deadline: When it expires, in words.
        complete: Live pairs that need no more ratings.
        pairs: Live pairs.
        given: Answers so far.
        needed: Counted ratings still needed, should all pairs be rated.
        wanted: Counted ratings that the pairs given out next still need.
        short: Raters who are missing.
        raters: The reports of the newest comparison.
        banned: Banned raters, with the reason.
        estimates: What the ratings say.
        disputes: Worst first.
        set_aside: Stored records that do not count, by reason.
        refused: Answers that this server refused since it started, by reason.
        actions: What owners did, newest first.
        simulated: Whether simulated raters may take part.
    """

    channel: str
    campaign: str
    version: str
    incumbent: str
    state: str
    deadline: str
    complete: int
    pairs: int
    given: int
    needed: int
    wanted: int
    short: int
    raters: Sequence[RaterReport]
    banned: Mapping[str, str]
    estimates: Estimates
    disputes: Sequence[Dispute] = ()
    set_aside: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    actions: Sequence[Action] = ()
    simulated: bool = False


def render(view: Overview, *, csrf: str, message: str = "") -> str:
    """Returns the whole page.

    Args:
        view: What to show.
        csrf: What each form sends back to show that it is this page's.
        message: What just happened, in plain words.
    """
    share = view.complete / max(1, view.pairs)
    against = f" against {view.incumbent}" if view.incumbent else ""
    simulated = (
        '<p class="simulated">Simulated raters are allowed in this channel: what they say '
        "exercises the machinery, not taste.</p>"
        if view.simulated
        else ""
    )
    bar = (
        '<div class="bar"><span class="name">Campaign</span>'
        f'<span class="where">{html.escape(view.channel)} · {html.escape(view.campaign)}</span>'
        f'{meter(share, f"{share:.0%} complete")}<nav><a class="button" href="/guidelines">'
        'Guidelines</a><a class="button" href="/owner">Refresh</a></nav></div>'
    )
    body = (
        f'<main class="sheet-page owner">{notice(message, "good")}'
        f"<h1>{html.escape(view.version)}{html.escape(against)}</h1>"
        f"<p>{_status_line(view)}</p>{_short(view)}{simulated}"
        + tiles(
            [
                (f"{share:.0%}", f"{view.complete:,} of {view.pairs:,} pairs complete"),
                (f"{view.given:,}", "answers so far"),
                (f"{view.wanted:,}", f"ratings wanted next; {view.needed:,} at most"),
                (_number(view.estimates.alpha), "agreement (Krippendorff's alpha)"),
                (_number(view.estimates.youden[0]), "label quality (Youden's J on golds)"),
                (
                    "–" if view.estimates.seconds is None else f"{view.estimates.seconds:.1f} s",
                    "median time of an answer",
                ),
            ]
        )
        + f"<h2>Estimates</h2>{_estimates(view.estimates)}"
        + f"<h2>Raters</h2>{_raters(view, csrf)}"
        + f"<h2>Disputed pairs</h2>{_disputes(view.disputes, csrf)}"
        + f"<h2>Set aside and refused</h2>{_counts(view)}"
        + f"<h2>What owners did</h2>{_actions(view.actions)}</main>"
    )
    return shell("Campaign", body, bar=bar)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _status_line(view: Overview) -> str:
    if view.state != "running":
        return f"This campaign has ended: <b>{html.escape(view.state)}</b>."
    return (
        f"Running until {html.escape(view.deadline)}. It may be decided long before all pairs are "
        "rated; looking early does no harm."
    )


def _short(view: Overview) -> str:
    """Returns a warning while the raters there are cannot rate everything: early on."""
    if view.state != "running" or not view.short:
        return ""
    more = "1 more rater is" if view.short == 1 else f"{view.short:,} more raters are"
    return (
        f'<p class="notice warn" role="status"><b>{more} needed.</b> Nobody may give more than a '
        "quarter of the ratings and nobody rates a pair twice, so those who qualified until now "
        "cannot rate all of the pairs: send more links.</p>"
    )


def _estimates(found: Estimates) -> str:
    if found.error:
        return f"<p>{html.escape(found.error)}</p>"
    if not found.checks:
        return "<p>Being worked out; refresh in a moment.</p>"

    def bounds(check: Check) -> str:
        if check.lower is None or check.upper is None:
            return ""
        return f"{check.lower:.3f} to {check.upper:.3f}"

    rows = [
        (
            check.status,
            check.name.replace("_", " "),
            "" if check.slice == "all" else check.slice,
            "" if check.observed is None else f"{check.observed:.3g}",
            bounds(check),
            check.requirement,
            check.reason,
        )
        for check in found.checks
    ]
    head = ("", "check", "department", "observed", "bounds", "required", "reason")
    return (
        f"<p>A look now would say <b>{html.escape(found.status)}</b> "
        f'<span class="muted">(worked out {html.escape(found.at)})</span></p>{table(head, rows)}'
    )


def _raters(view: Overview, csrf: str) -> str:
    if not view.raters and not view.banned:
        return "<p>Nobody has rated yet.</p>"
    rows = ""
    known = {report.rater_id: report for report in view.raters}
    for rater_id in sorted({*known, *view.banned}):
        report = known.get(rater_id)
        banned = rater_id in view.banned
        standing = "banned" if banned else report.standing if report else "unqualified"
        name = html.escape(rater_id)
        if banned:
            button = _form(csrf, "lift", rater_id, "Lift the ban", "mistake")
        else:
            button = _form(csrf, "ban", rater_id, "Ban", "")
        reason = f": {html.escape(view.banned[rater_id])}" if banned else ""
        kind = "pass" if standing == "counted" else "fail" if "banned" in standing else ""
        rows += (
            f'<tr class="{kind}"><td>{name}</td><td>{_STANDING.get(standing, standing)}{reason}'
            f'</td><td class="number">{report.ratings if report else 0:,}</td>'
            f'<td class="number">{report.golds if report else 0:,}</td>'
            f'<td class="number">{_number(report.gold_youden if report else None)}</td>'
            f'<td class="number">{_number(report.peer_youden if report else None)}</td>'
            f"<td>{button}</td></tr>"
        )
    head = "<th>rater</th><th>standing</th>" + "".join(
        f'<th class="number">{name}</th>'
        for name in ("live answers", "golds", "J on golds", "J on peers")
    )
    head += "<th></th>"
    return (
        "<p>A ban sets all of a rater's answers aside and issues their pairs again.</p>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        "</div>"
    )


def _form(csrf: str, action: str, subject: str, label: str, reason: str) -> str:
    return (
        '<form class="inline" method="post" action="/owner/act">'
        f'<input type="hidden" name="csrf" value="{html.escape(csrf)}">'
        f'<input type="hidden" name="action" value="{action}">'
        f'<input type="hidden" name="subject" value="{html.escape(subject)}">'
        f'<input type="text" name="reason" value="{html.escape(reason)}" maxlength="200" required '
        f'placeholder="reason" aria-label="Reason"><button>{label}</button></form>'
    )


def _disputes(disputes: Sequence[Dispute], csrf: str) -> str:
    if not disputes:
        return "<p>No pair has answers that are two grades apart.</p>"
    cards = ""
    for entry in disputes:
        answers = "".join(
            f"<li><span>{html.escape(rater)}</span><b>{_grade(grade)}</b></li>"
            for rater, grade in entry.answers
        )
        again = (
            '<p class="muted">more ratings were asked for</p>'
            if entry.reissued
            else _form(csrf, "reissue", entry.task_id, "Ask two more", "disputed")
        )
        cards += (
            f'<div class="dispute"><div class="two"><img src="{html.escape(entry.query)}" '
            f'alt="query" loading="lazy"><img src="{html.escape(entry.result)}" alt="result" '
            f'loading="lazy"></div><ul>{answers}</ul>{again}</div>'
        )
    return f'<div class="disputes">{cards}</div>'


def _grade(value: str) -> str:
    grade = guidelines.BY_VALUE[value]
    return html.escape(f"{grade.key} – {grade.name}" if value.isdigit() else grade.name)


def _counts(view: Overview) -> str:
    rows = [("stored, does not count", reason, n) for reason, n in sorted(view.set_aside.items())]
    rows += [("refused here", reason, n) for reason, n in sorted(view.refused.items())]
    if not rows:
        return "<p>Nothing.</p>"
    return table(("", "reason", "count"), [(where, r.replace("_", " "), n) for where, r, n in rows])


def _actions(actions: Sequence[Action]) -> str:
    if not actions:
        return "<p>Nothing yet.</p>"
    return table(
        ("when", "who", "what", "whom", "why"),
        [
            (entry.at[:19].replace("T", " "), entry.by, entry.action, entry.subject, entry.reason)
            for entry in actions
        ],
    )
