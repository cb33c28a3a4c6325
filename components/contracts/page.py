"""Reports: one self-contained HTML page, readable alone, in the pipeline UI and on a phone."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from importlib import resources

from PIL import Image

STYLE = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")


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
    if isinstance(value, int) and not isinstance(value, bool):
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
