"""The page at `/`: drop a photo or pick an item, see what looks like it.

Made on the server, works without scripts and asks for nothing outside. The one script saves
clicks: a photo that is dropped, pasted or picked is sent at once, and stays at hand while filters
change.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from components.contracts.page import STYLE as REPORT_STYLE

_STYLE = REPORT_STYLE + Path(__file__).with_name("page.css").read_text("utf-8")
_SCRIPT = Path(__file__).with_name("page.js").read_text("utf-8")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; "
    f"style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Tile:
    """One item as the page shows it.

    Attributes:
        item_id: The item.
        title: Plain text; the id is shown where there is none.
        path: The taxonomy path as people read it.
        picture: Address of its thumbnail, or empty.
        score: Cosine similarity to the query; None where there is no query.
    """

    item_id: str
    title: str
    path: str
    picture: str
    score: float | None = None


@dataclass(frozen=True)
class Choice:
    """What narrows a search.

    Attributes:
        departments: Ids and names of the departments to choose from.
        department: The chosen one's id; empty for all.
        others: Versions that can be compared with the one that answers.
        compare: The chosen one; empty for none.
        gone: A version that was chosen, but is not in memory here (any more); empty for none.
    """

    departments: Sequence[tuple[str, str]] = ()
    department: str = ""
    others: Sequence[str] = ()
    compare: str = ""
    gone: str = ""

    def query(self) -> dict[str, str]:
        """Returns what was chosen, for an address."""
        chosen = {"department": self.department, "compare": self.compare}
        return {name: value for name, value in chosen.items() if value}


@dataclass(frozen=True)
class Column:
    """The answer of one bundle.

    Attributes:
        version: The bundle.
        tiles: Best first.
        note: What there is to say of it, in plain words; empty for nothing.
    """

    version: str
    tiles: Sequence[Tile]
    note: str = ""


def item_link(item_id: str, choice: Choice | None = None) -> str:
    """Returns the page's address for what looks like an item."""
    chosen = choice.query() if choice else {}
    return f"/?{urlencode({'item': item_id} | chosen)}"


def _frame(picture: str, title: str) -> str:
    if not picture:
        letter = html.escape(title[:1].upper() or "?")
        return f'<span class="frame none" aria-hidden="true">{letter}</span>'
    return (
        f'<span class="frame"><img src="{html.escape(picture)}" alt="" loading="lazy" '
        'decoding="async"></span>'
    )


def _card(tile: Tile, choice: Choice, *, small: bool = False, alone: bool = False) -> str:
    title = tile.title or tile.item_id
    score = ""
    if tile.score is not None:
        width = min(1.0, max(0.0, tile.score))
        score = (
            f'<span class="score"><meter min="0" max="1" value="{width:.4f}" '
            f'aria-label="similarity"></meter>{tile.score:.3f}</span>'
        )
    path = f'<span class="path">{html.escape(tile.path)}</span>' if tile.path and not small else ""
    mark = '<span class="only">only here</span>' if alone else ""
    return (
        f'<li><a class="card{" alone" if alone else ""}" '
        f'href="{html.escape(item_link(tile.item_id, choice))}" '
        f'title="{html.escape(tile.item_id)}: more like this">{_frame(tile.picture, title)}'
        f'<span class="text"><b>{html.escape(title)}</b>{path}{mark}{score}</span></a></li>'
    )


def _query(query: Tile) -> str:
    title = query.title or query.item_id
    note = f'<div class="path">{html.escape(query.path)}</div>' if query.path else ""
    name = f'<div class="path">{html.escape(query.item_id)}</div>' if query.item_id else ""
    return (
        f'<div class="query">{_frame(query.picture, title)}<div class="text">'
        f"<b>{html.escape(title)}</b>{note}{name}</div></div>"
    )


def _select(name: str, label: str, options: Sequence[tuple[str, str]], chosen: str) -> str:
    listed = "".join(
        f'<option value="{html.escape(value)}"{" selected" if value == chosen else ""}>'
        f"{html.escape(text)}</option>"
        for value, text in options
    )
    return f'<label>{label}<select name="{name}">{listed}</select></label>'


def _form(choice: Choice, query: Tile | None, words: str) -> str:
    departments = [("", "all"), *choice.departments]
    narrow = _select("department", "Department", departments, choice.department)
    if choice.others:
        others = [("", "nothing"), *((version, version) for version in choice.others)]
        narrow += _select("compare", "Compare with", others, choice.compare)
    same = ""
    if query is not None and query.item_id:
        same = f'<input type="hidden" name="item" value="{html.escape(query.item_id)}">'
    return (
        '<form class="ask-form" method="post" action="/" enctype="multipart/form-data">'
        '<div class="drop"><label for="photo">Drop a photo here, paste one, or choose a file'
        "</label><small>JPEG, PNG, WebP, GIF or BMP</small>"
        '<input id="photo" type="file" name="image" accept="image/*"></div>'
        f'<div class="narrow"><label class="words">Or an item<input name="q" '
        f'value="{html.escape(words)}" placeholder="id, or words of its title" maxlength="200" '
        f'autocomplete="off"></label>{narrow}{same}<button>Search</button></div></form>'
    )


def _columns(columns: Sequence[Column], choice: Choice) -> str:
    if len(columns) == 1:
        (column,) = columns
        cards = "".join(_card(tile, choice) for tile in column.tiles)
        note = f'<p class="muted">{html.escape(column.note)}</p>' if column.note else ""
        if not cards:
            return note or "<p>Nothing was found.</p>"
        return f'{note}<ol class="grid">{cards}</ol>'
    sets = [{tile.item_id for tile in column.tiles} for column in columns]
    most = max(len(entry) for entry in sets)
    shared = len(sets[0] & sets[1])
    parts = [f'<p class="muted">{shared} of {most} in common.</p>' if most else ""]
    for number, column in enumerate(columns):
        other = sets[1 - number]
        cards = "".join(
            _card(tile, choice, alone=tile.item_id not in other) for tile in column.tiles
        )
        kind = "live" if number == 0 else "compared"
        note = f'<p class="muted">{html.escape(column.note)}</p>' if column.note else ""
        nothing = "" if column.note else "<p>Nothing was found.</p>"
        parts.append(
            f'<section class="column"><h3><span>{kind}</span> <code>'
            f"{html.escape(column.version)}</code></h3>{note}"
            + (f'<ol class="list">{cards}</ol></section>' if cards else f"{nothing}</section>")
        )
    return f'{parts[0]}<div class="columns">{"".join(parts[1:])}</div>'


def render(
    *,
    version: str,
    items: int,
    picks: Sequence[Tile],
    choice: Choice | None = None,
    query: Tile | None = None,
    columns: Sequence[Column] = (),
    matches: Sequence[Tile] | None = None,
    words: str = "",
    error: str = "",
) -> str:
    """Returns the whole page.

    Args:
        version: The bundle that answered.
        items: How many items it holds.
        picks: A few items to start from.
        choice: What narrows the search.
        query: What was asked, if anything.
        columns: What looks like it; two to compare two bundles.
        matches: Items that have the words; None when nobody looked for words.
        words: What was looked for.
        error: What was wrong with the question, in plain words.
    """
    choice = choice or Choice()
    banner = f'<p class="error" role="alert">{html.escape(error)}</p>' if error else ""
    ask = (
        f'<div class="ask{" two" if query else ""}">{_query(query) if query else ""}'
        f"{_form(choice, query, words)}</div>"
    )
    answer = ""
    if query:
        answer = '<div class="row"><h2 id="results" tabindex="-1">Looks like it</h2></div>'
        answer += _columns(columns, choice)
    elif matches is not None:
        answer = f'<div class="row"><h2>Items with “{html.escape(words)}”</h2></div>'
        cards = "".join(_card(tile, choice) for tile in matches)
        answer += f'<ul class="grid">{cards}</ul>' if cards else "<p>No item has these words.</p>"
    start = "".join(_card(tile, choice, small=True) for tile in picks)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<link rel="icon" href="data:,"><title>Lookalike</title>'
        f"<style>{_STYLE}</style></head><body>"
        f'<header><h1><a href="/">Lookalike</a></h1><span class="muted">{items:,} items</span>'
        f'<span class="version">version <code>{html.escape(version)}</code></span></header>'
        f"<main>{banner}{ask}{answer}"
        '<div class="row"><h2>Or start from one of these</h2><a href="/">others</a></div>'
        f'<ul class="grid pick">{start}</ul></main>'
        "<footer>Items are ranked by how alike they look, not by their words. "
        '<a href="/openapi.json">API</a> · <a href="/console">Console</a></footer>'
        f"<script>{_SCRIPT}</script></body></html>\n"
    )
