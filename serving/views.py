"""The page at `/`: drop a photo or pick an item, see what looks like it.

Made on the server, works without scripts and asks for nothing outside. The one script saves a
click: a photo that is dropped, pasted or picked is sent at once.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from components.contracts.page import STYLE as REPORT_STYLE

_STYLE = REPORT_STYLE + Path(__file__).with_name("page.css").read_text("utf-8")
_SCRIPT = """
const form = document.querySelector('form.drop'), field = form.querySelector('input[type=file]');
const send = files => {
  const photo = [...files].find(file => file.type.startsWith('image/'));
  if (!photo) return;
  const bag = new DataTransfer(); bag.items.add(photo); field.files = bag.files;
  form.classList.add('busy'); form.querySelector('button').textContent = 'Looking…';
  form.submit();
};
field.addEventListener('change', () => send(field.files));
document.addEventListener('paste', event => send(event.clipboardData.files));
for (const name of ['dragover', 'dragleave', 'drop'])
  document.addEventListener(name, event => {
    event.preventDefault(); form.classList.toggle('over', name === 'dragover');
    if (name === 'drop') send(event.dataTransfer.files);
  });
window.addEventListener('pageshow', () => {
  form.classList.remove('busy'); form.querySelector('button').textContent = 'Search';
});
"""


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' data:; "
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


def item_link(item_id: str) -> str:
    """Returns the page's address for what looks like an item."""
    return f"/?item={quote(item_id, safe='')}"


def _frame(picture: str, title: str) -> str:
    if not picture:
        letter = html.escape(title[:1].upper() or "?")
        return f'<span class="frame none" aria-hidden="true">{letter}</span>'
    return (
        f'<span class="frame"><img src="{html.escape(picture)}" alt="" loading="lazy" '
        'decoding="async"></span>'
    )


def _card(tile: Tile, *, small: bool = False) -> str:
    title = tile.title or tile.item_id
    score = ""
    if tile.score is not None:
        width = min(1.0, max(0.0, tile.score))
        score = (
            f'<span class="score"><meter min="0" max="1" value="{width:.4f}" '
            f'aria-label="similarity"></meter>{tile.score:.3f}</span>'
        )
    path = f'<span class="path">{html.escape(tile.path)}</span>' if tile.path and not small else ""
    return (
        f'<li><a class="card" href="{html.escape(item_link(tile.item_id))}" '
        f'title="{html.escape(tile.item_id)}: more like this">{_frame(tile.picture, title)}'
        f'<span class="text"><b>{html.escape(title)}</b>{path}{score}</span></a></li>'
    )


def _query(query: Tile) -> str:
    title = query.title or query.item_id
    note = f'<div class="path">{html.escape(query.path)}</div>' if query.path else ""
    name = f'<div class="path">{html.escape(query.item_id)}</div>' if query.item_id else ""
    return (
        f'<div class="query">{_frame(query.picture, title)}<div class="text">'
        f"<b>{html.escape(title)}</b>{note}{name}</div></div>"
    )


def render(
    *,
    version: str,
    items: int,
    picks: Sequence[Tile],
    query: Tile | None = None,
    results: Sequence[Tile] = (),
    error: str = "",
) -> str:
    """Returns the whole page.

    Args:
        version: The bundle that answered.
        items: How many items it holds.
        picks: A few items to start from.
        query: What was asked, if anything.
        results: What looks like it, best first.
        error: What was wrong with the question, in plain words.
    """
    banner = f'<p class="error" role="alert">{html.escape(error)}</p>' if error else ""
    drop = (
        '<form class="drop" method="post" action="/" enctype="multipart/form-data">'
        '<label for="photo">Drop a photo here, paste one, or choose a file</label>'
        "<small>JPEG, PNG, WebP, GIF or BMP</small>"
        '<span class="choose"><input id="photo" type="file" name="image" accept="image/*" required>'
        "<button>Search</button></span></form>"
    )
    ask = f'<div class="ask{" two" if query else ""}">{_query(query) if query else ""}{drop}</div>'
    answer = ""
    if query:
        cards = "".join(_card(tile) for tile in results)
        answer = '<div class="row"><h2>Looks like it</h2></div>' + (
            f'<ol class="grid">{cards}</ol>' if cards else "<p>Nothing was found.</p>"
        )
    start = "".join(_card(tile, small=True) for tile in picks)
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
        '<a href="/openapi.json">API</a></footer>'
        f"<script>{_SCRIPT}</script></body></html>\n"
    )
