"""`/console/channels/NAME`: a channel, its history, its quarantine and what it demands."""

from __future__ import annotations

import html
from dataclasses import asdict

from components.registry.channel import Move
from serving.console.frame import (
    act_link,
    button,
    channel_link,
    facts,
    note,
    pill,
    table,
    version_code,
    when,
)
from serving.console.overview_page import channel_card
from serving.console.reading import ChannelView

_DEMANDS = {
    "needed_verdicts": "gates that must have passed",
    "max_verdict_age_days": "oldest verdict, days",
    "max_bundle_age_days": "oldest bundle, days",
    "allow_simulated": "simulated raters count",
    "same_incumbent": "verdicts must compare with what is live",
    "min_size_ratio": "items, at least this share of what is live",
    "max_churn": "items that change, at most this share",
    "writers": "who may write verdicts",
    "signed": "verdicts must be signed",
}


def render(seen: ChannelView, *, done: str = "", extra: str = "") -> str:
    """Returns the body of the page.

    Args:
        seen: The channel.
        done: The id of the entry that the visitor has just made; empty for none.
        extra: HTML to show below the channel, such as how a canary fares.
    """
    parts = []
    if move := next((move for move in seen.moves if move.id == done), None):
        parts.append(
            note(
                f"<b>Done:</b> {html.escape(move.sentence())}. Servers follow within seconds.",
                "pass",
            )
        )
    parts.append(channel_card(seen.report, acting=True, heading="h1"))
    parts.append(extra)
    if seen.state.quarantine:
        parts.append(_quarantine(seen))
    parts.append("<h2>History</h2>" + _history(seen))
    parts.append("<h2>What it demands of a bundle</h2>" + _policy(seen))
    return "".join(parts)


def _quarantine(seen: ChannelView) -> str:
    rows = [
        (
            version_code(version),
            html.escape(entry.why),
            html.escape(entry.who),
            when(entry.when),
            button(act_link(seen.state.name, "release", version), "Release…", kind="small"),
        )
        for version, entry in reversed(seen.state.quarantine.items())
    ]
    return "<h2>Quarantine</h2>" + table(("Version", "Why", "Who", "Since", ""), rows)


def _history(seen: ChannelView) -> str:
    if not seen.moves:
        return "<p>Nothing has happened yet.</p>"
    rows = [
        (
            str(move.number),
            when(move.when),
            _what(move),
            html.escape(move.why),
            html.escape(move.who),
        )
        for move in seen.moves
    ]
    oldest = seen.moves[-1].number
    older = (
        f'<p><a href="{html.escape(channel_link(seen.state.name))}?before={oldest}">'
        f"{oldest - 1:,} older</a></p>"
        if oldest > 1
        else ""
    )
    return table(("#", "When", "What", "Why", "Who"), rows) + older


def _what(move: Move) -> str:
    kinds = {"promote": "pass", "rollback": "fail", "freeze": "wait", "quarantine": "wait"}
    label = pill(move.kind, kinds.get(move.kind, "plain"))
    forced = pill("by force", "wait") if move.forced else ""
    if move.kind in ("promote", "rollback"):
        return f"{label}{forced} {version_code(move.to)}"
    return f"{label} {version_code(move.subject) if move.subject else ''}"


def _policy(seen: ChannelView) -> str:
    if seen.policy is None:
        return note("Its policy cannot be read: it takes nothing until it can.", "fail")
    values = asdict(seen.policy)
    return facts((text, html.escape(_value(values[name]))) for name, text in _DEMANDS.items())


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(entry) for entry in value)
    if isinstance(value, dict):
        return "; ".join(f"{gate}: {', '.join(names)}" for gate, names in value.items())
    if value is None:
        return "anybody"
    return f"{value:g}" if isinstance(value, float) else str(value)
