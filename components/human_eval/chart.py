"""Line charts as inline SVG: no script, no other file, in the page's own colours."""

from __future__ import annotations

import html
from collections.abc import Sequence

_WIDTH, _HEIGHT, _MARGIN = 720, 260, 46
Line = tuple[Sequence[int], Sequence[float], str, str]


def line_chart(
    title: str,
    lines: Sequence[Line],
    rules: Sequence[tuple[float, str]],
    *,
    unit: str = "queries",
) -> str:
    """Returns a chart as HTML with inline SVG.

    Args:
        title: Plain text above it.
        lines: x values, y values, CSS colour and name of each line.
        rules: Height and name of each dashed line, lowest first.
        unit: What is counted along the x axis, in the plural.
    """
    values = [v for _, ys, _, _ in lines for v in ys] + [level for level, _ in rules]
    # Evidence grows and sinks without limit; the part near the lines is what is read.
    low, high = max(min(values), -4.0), min(max(values), 12.0)
    room = (high - low) * 0.05 or 0.5
    low, high = low - room, high + room
    last = max(max(xs) for xs, _, _, _ in lines)

    def point(x: float, y: float) -> tuple[float, float]:
        share = (min(max(y, low), high) - low) / (high - low)
        return (
            _MARGIN + x / last * (_WIDTH - 2 * _MARGIN),
            _HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN + 16),
        )

    parts = []
    for number, (level, name) in enumerate(rules):
        _, y = point(0, level)
        above = number == len(rules) - 1
        parts.append(
            f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="currentColor" stroke-dasharray="5 4" opacity=".55"/>'
            f'<text x="{_WIDTH - _MARGIN}" y="{y - 4 if above else y + 13:.1f}" font-size="12" '
            'text-anchor="end" fill="currentColor">'
            f"{html.escape(name)}</text>"
        )
    for number, (xs, ys, colour, name) in enumerate(lines):
        points = " ".join("{:.1f},{:.1f}".format(*point(x, y)) for x, y in zip(xs, ys, strict=True))
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>'
            f'<text x="{_WIDTH - _MARGIN - 130 * (len(lines) - number)}" y="{_HEIGHT - 6}" '
            f'font-size="12" fill="{colour}">— {html.escape(name)}</text>'
        )
    for level in (low + room, high - room):
        _, y = point(0, level)
        parts.append(
            f'<text x="{_MARGIN - 6}" y="{y + 4:.1f}" font-size="11" text-anchor="end" '
            f'fill="currentColor">{level:.2g}</text>'
        )
    parts.append(
        f'<text x="{_WIDTH - _MARGIN}" y="{_HEIGHT - _MARGIN + 16}" font-size="11" '
        f'text-anchor="end" fill="currentColor">{last} {unit}</text>'
        f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{_HEIGHT - _MARGIN}" '
        f'y2="{_HEIGHT - _MARGIN}" stroke="currentColor" opacity=".3"/>'
    )
    return (
        f'<h3>{html.escape(title)}</h3><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{html.escape(title)}" width="{_WIDTH}">{"".join(parts)}</svg>'
    )
