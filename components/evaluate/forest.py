"""A chart of changes with their intervals, one line each: what moved, and how surely."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _ROW, _LEFT, _RIGHT, _TOP = 820, 24, 230, 210, 22


@dataclass(frozen=True)
class Bar:
    """One line of the chart.

    Attributes:
        name: What it is about.
        mean: The change.
        lower: Lower end of its interval.
        upper: Upper end.
        note: A few words at its end.
    """

    name: str
    mean: float
    lower: float
    upper: float
    note: str = ""


def forest(bars: Sequence[Bar]) -> str:
    """Returns an SVG: an interval and a point for each bar, zero as a line through all of them.

    An interval that leaves zero on one side is drawn in the colour of that side.
    """
    if not bars:
        return ""
    # A span of nothing would divide by zero, and one of a thousandth would shout.
    reach = max(0.02, *(abs(value) for bar in bars for value in (bar.lower, bar.upper))) * 1.05
    height = _TOP + _ROW * len(bars) + 24

    def at(value: float) -> float:
        return _LEFT + (value + reach) / (2 * reach) * (_WIDTH - _LEFT - _RIGHT)

    bottom = height - 24
    parts = [
        f'<line x1="{at(0):.1f}" y1="{_TOP - 8}" x2="{at(0):.1f}" y2="{bottom}" '
        'stroke="currentColor" stroke-opacity=".5"/>',
    ]
    for value in (-reach, 0.0, reach):
        anchor = "start" if value < 0 else "end" if value > 0 else "middle"
        text = f"{value:+.0%}" if value else "as before"
        parts.append(
            f'<text x="{at(value):.1f}" y="{height - 6}" text-anchor="{anchor}">{text}</text>'
        )
    for number, bar in enumerate(bars):
        y = _TOP + _ROW * number + _ROW / 2
        colour = (
            "var(--fail)" if bar.upper < 0 else "var(--pass)" if bar.lower > 0 else "var(--muted)"
        )
        title = f"{bar.name}: {bar.mean:+.1%} ({bar.lower:+.1%} to {bar.upper:+.1%}), {bar.note}"
        parts.append(
            f"<g><title>{html.escape(title)}</title>"
            f'<text x="{_LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">'
            f"{html.escape(_short(bar.name))}</text>"
            f'<line x1="{at(bar.lower):.1f}" y1="{y:.1f}" x2="{at(bar.upper):.1f}" y2="{y:.1f}" '
            f'stroke="{colour}" stroke-width="3"/>'
            f'<circle cx="{at(bar.mean):.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
            f'<text x="{_WIDTH - _RIGHT + 10}" y="{y + 4:.1f}" fill="var(--muted)">'
            f"{html.escape(bar.note)}</text></g>"
        )
    return (
        f'<div class="scroll"><svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" role="img" '
        f'style="min-width:34rem" font-size="12" fill="currentColor">'
        f"<title>Change by department</title>{''.join(parts)}</svg></div>"
    )


def _short(name: str) -> str:
    return name if len(name) <= 32 else name[:31] + "…"
