"""What the console's pages have in common: the frame, the style, and small pieces of HTML."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from components.contracts.moments import moment
from components.contracts.page import STYLE as REPORT_STYLE

_STYLE = REPORT_STYLE + Path(__file__).with_name("console.css").read_text("utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    # No script at all: the console works without, and nothing can be slipped in.
    "Content-Security-Policy": (
        f"default-src 'none'; img-src 'self' data:; style-src 'sha256-{_STYLE_HASH}'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # With no-referrer, browsers send `Origin: null` from our own forms.
    "Referrer-Policy": "same-origin",
}


@dataclass(frozen=True)
class Visitor:
    """Who looks at the page.

    Attributes:
        name: Shown at the top; empty for nobody.
        form: What forms send back; see `Sessions.form_token`.
        session: Whether they can sign out.
    """

    name: str = ""
    form: str = ""
    session: bool = False


def page(title: str, body: str, visitor: Visitor, *, channels: Sequence[str] = ()) -> str:
    """Returns a whole page.

    Args:
        title: Plain text.
        body: HTML that the caller has escaped.
        visitor: Who looks at it.
        channels: For the navigation.
    """
    links = [("/console", "Overview"), *((channel_link(name), name) for name in channels)]
    nav = "".join(f'<a href="{html.escape(link)}">{html.escape(name)}</a>' for link, name in links)
    who = ""
    if visitor.name:
        out = (
            f'<form method="post" action="/logout">{hidden({"form": visitor.form})}'
            '<button class="quiet">Sign out</button></form>'
            if visitor.session
            else ""
        )
        who = f'<div class="who"><span>{html.escape(visitor.name)}</span>{out}</div>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
        f'<link rel="icon" href="data:,"><title>{html.escape(title)} · Lookalike</title>'
        f'<style>{_STYLE}</style></head><body><a class="skip" href="#main">To the content</a>'
        f'<header><a class="brand" href="/console">Lookalike <span>console</span></a>'
        f'<nav aria-label="Console">{nav if visitor.name else ""}<a href="/">Search</a></nav>'
        f'{who}</header><main id="main">{body}</main></body></html>\n'
    )


def channel_link(name: str) -> str:
    """Returns the address of a channel's page."""
    return f"/console/channels/{quote(name, safe='')}"


def version_link(version: str) -> str:
    """Returns the address of a version's page."""
    return f"/console/versions/{quote(version, safe='')}"


def act_link(channel: str, kind: str, version: str = "") -> str:
    """Returns the address of the form for an operation."""
    query = f"?{urlencode({'version': version})}" if version else ""
    return f"{channel_link(channel)}/{kind}{query}"


def version_code(version: str) -> str:
    """Returns a version as a link to its page."""
    if not version:
        return '<span class="muted">nothing</span>'
    return f'<a href="{html.escape(version_link(version))}"><code>{html.escape(version)}</code></a>'


def pill(text: str, kind: str) -> str:
    """Returns a small label; `kind` is `pass`, `fail`, `wait`, `live` or `plain`."""
    return f'<span class="pill {kind}">{html.escape(text)}</span>'


def status_pill(text: str, status: str) -> str:
    """Returns a label in the colour of a verdict's status."""
    return pill(text, {"pass": "pass", "fail": "fail"}.get(status, "wait"))


def button(link: str, text: str, *, kind: str = "") -> str:
    """Returns a link that looks like a button; what it leads to asks before it acts."""
    return f'<a class="button {kind}" href="{html.escape(link)}">{html.escape(text)}</a>'


def hidden(values: Mapping[str, str]) -> str:
    """Returns hidden fields of a form."""
    return "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in values.items()
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Returns names with values beside them; the values are HTML."""
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{value}</dd>" for name, value in pairs)
    return f'<dl class="facts">{rows}</dl>'


def note(body: str, kind: str = "") -> str:
    """Returns a box that stands out; `kind` is `fail`, `wait`, `pass` or empty; `body` is HTML."""
    role = "alert" if kind == "fail" else "status"
    return f'<div class="note {kind}" role="{role}">{body}</div>'


def reasons(sentences: Sequence[str]) -> str:
    """Returns reasons as a list; empty for none."""
    if not sentences:
        return ""
    return "<ul>" + "".join(f"<li>{html.escape(entry)}</li>" for entry in sentences) + "</ul>"


def when(text: str) -> str:
    """Returns a time with its distance, escaped."""
    return html.escape(moment(text))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table of cells that are HTML; on a phone each row becomes a card of its own."""
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    body = "".join(
        "<tr>"
        + "".join(
            # A cell is one box, so that on a phone its label stands beside all of it.
            (
                f'<td data-label="{html.escape(column)}"><div>{cell}</div></td>'
                if cell
                else "<td></td>"
            )
            for column, cell in zip(columns, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<table class="rows"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _cell(column: str, cell: str) -> str:
    if not cell:
        return "<td></td>"
    # One box, so that on a phone the label stands beside all of it.
    return f'<td data-label="{html.escape(column)}"><div>{cell}</div></td>'
