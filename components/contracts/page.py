"""Reports: one self-contained HTML page, readable alone, in the pipeline UI and on a phone."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence

from PIL import Image

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1d2330;--muted:#5c6577;--line:#d9dee8;--card:#f6f8fb;
--pass:#14794a;--fail:#b3261e;--wait:#8a5a00;--accent:#2456c6}
@media(prefers-color-scheme:dark){:root{--bg:#12151c;--fg:#e6e9f0;--muted:#9aa4b8;--line:#2b3240;
--card:#1a1f2a;--pass:#4cc38a;--fail:#ff8a80;--wait:#e5b567;--accent:#8ab0ff}}
*{box-sizing:border-box}body{margin:0;padding:1.25rem;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;max-width:76rem;margin-inline:auto}
h1{font-size:1.5rem;line-height:1.25;margin:.2rem 0 .6rem}h2{font-size:1.15rem;margin:1.6rem 0 .5rem}
h3{font-size:1rem;margin:1.1rem 0 .4rem}p{margin:.4rem 0;max-width:70ch}.muted{color:var(--muted)}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;min-width:min(100%,28rem)}
th,td{padding:.35rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{color:var(--muted);font-weight:600}td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}
tr.fail td:first-child{color:var(--fail);font-weight:600}tr.pass td:first-child{color:var(--pass)}
tr.undecided td:first-child,tr.expired td:first-child{color:var(--wait)}
.verdict.pass h2{color:var(--pass)}.verdict.fail h2{color:var(--fail)}
.verdict.undecided h2,.verdict.expired h2{color:var(--wait)}
.simulated{border:1px solid var(--wait);color:var(--wait);border-radius:.4rem;padding:.4rem .7rem;display:inline-block}
.tiles{display:flex;flex-wrap:wrap;gap:.6rem}.tile{background:var(--card);border:1px solid var(--line);
border-radius:.5rem;padding:.5rem .8rem;min-width:8rem}.tile b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}
.tile span{color:var(--muted);font-size:.85rem}
.sheet{display:flex;gap:.4rem;overflow-x:auto;padding:.3rem 0;align-items:flex-start}
figure{margin:0;width:6.2rem;flex:none}figure img{width:6.2rem;height:6.2rem;object-fit:contain;background:#fff;
border:2px solid var(--line);border-radius:.35rem;display:block}figure.good img{border-color:var(--pass)}
figure.bad img{border-color:var(--fail)}figure.query img{border-color:var(--accent)}
figcaption{font-size:.74rem;line-height:1.3;color:var(--muted);overflow-wrap:anywhere}
svg{max-width:100%;height:auto;color:var(--fg)}code{font-size:.9em}ul{padding-left:1.2rem}
"""


def page(title: str, body: str) -> str:
    """Returns a whole page.

    Args:
        title: Plain text; shown as the heading too.
        body: HTML that the caller has escaped.
    """
    name = html.escape(title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{name}</title><style>{STYLE}</style></head><body><h1>{name}</h1>{body}</body></html>\n"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns an HTML table; cells are escaped, numbers are set right-aligned."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f'<td class="number">{value:.4g}</td>'
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{html.escape(str(value))}</td>"


def tiles(values: Iterable[tuple[str, str]]) -> str:
    """Returns big figures with a label under each: (figure, label)."""
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><b>{html.escape(figure)}</b><span>{html.escape(label)}</span></div>'
            for figure, label in values
        )
        + "</div>"
    )


def thumbnail(data: bytes, *, side: int = 96) -> str:
    """Returns an image as a small JPEG in a data URI, so that the page needs no other file.

    Args:
        data: An encoded image that `components.contracts.images.admit` let through.
        side: Longest side in pixels.
    """
    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB")
        small.thumbnail((side, side))
        buffer = io.BytesIO()
        small.save(buffer, format="JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def figure(source: str, caption: str, *, kind: str = "") -> str:
    """Returns a captioned picture.

    Args:
        source: What `thumbnail` returned.
        caption: Plain text under it.
        kind: `query`, `good`, `bad` or empty: the colour of the frame.
    """
    text = html.escape(caption)
    return (
        f'<figure class="{html.escape(kind)}"><img src="{source}" alt="{text}" loading="lazy">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def sheet(figures: Iterable[str]) -> str:
    """Returns figures in one row that scrolls sideways on a small screen."""
    return f'<div class="sheet">{"".join(figures)}</div>'
