"""The picture of a frontier: recall against time, one colour and shape a series."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 16, 46
# Hue and lightness both differ, and each series has a shape of its own: readable in grey too.
_COLOURS = ("var(--accent)", "var(--wait)", "var(--pass)", "var(--fail)", "#8e5bd0", "var(--muted)")
_SHAPES = ("circle", "square", "diamond", "triangle", "plus", "ring")
# Recalls are drawn on a logarithmic scale of what is missed: 0.9, 0.99 and 0.999 are as far apart.
_LEAST_MISSED = 1e-3


@dataclass(frozen=True)
class Mark:
    """One setting in the picture.

    Attributes:
        recall: In [0, 1].
        milliseconds: Time of a query.
        label: What it is, for people.
    """

    recall: float
    milliseconds: float
    label: str


@dataclass(frozen=True)
class Series:
    """Settings of one kind.

    Attributes:
        name: What they have in common.
        marks: The settings, in any order.
    """

    name: str
    marks: Sequence[Mark]


def best(marks: Sequence[Mark]) -> list[Mark]:
    """Returns the frontier: what no other mark beats in both recall and time, by falling recall."""
    kept: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: (-mark.recall, mark.milliseconds)):
        if not kept or mark.milliseconds < kept[-1].milliseconds:
            kept.append(mark)
    return kept


def draw(
    series: Sequence[Series], *, target: float | None = None, chosen: Mark | None = None
) -> str:
    """Returns an SVG with its legend; a line joins the frontier of each series.

    Args:
        series: Non-empty series; at most as many as there are shapes keep their own.
        target: Recall to draw a line at.
        chosen: The mark to point out.
    """
    marks = [mark for one in series for mark in one.marks] + ([chosen] if chosen else [])
    scale = _Scale(marks, target)
    parts = [*_axes(scale), *([_target(scale, target)] if target is not None else [])]
    for number, one in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(scale.at, best(one.marks)))
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        for mark in one.marks:
            parts.append(_mark(scale, mark, _SHAPES[number % len(_SHAPES)], colour))
    if chosen:
        x, y = scale.at(chosen)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="10" fill="none" stroke="var(--fg)" '
            f'stroke-width="2"/>{_title(chosen, "chosen: ")}'
        )
        side = "start" if x < _WIDTH - 120 else "end"
        parts.append(
            f'<text x="{x + (14 if side == "start" else -14):.1f}" y="{y + 22:.1f}" '
            f'text-anchor="{side}" font-weight="600" stroke="var(--bg)" stroke-width="4" '
            'paint-order="stroke">chosen</text>'
        )
    legend = "".join(
        f'<span class="key"><svg width="16" height="16" viewBox="-8 -8 16 16">'
        f"{_shape(_SHAPES[number % len(_SHAPES)], 0, 0, _COLOURS[number % len(_COLOURS)])}</svg> "
        f"{html.escape(one.name)}</span>"
        for number, one in enumerate(series)
    )
    return (
        "<style>.key{display:inline-flex;align-items:center;gap:.3rem;margin-right:1rem}"
        ".frontier{overflow-x:auto}.frontier svg{min-width:34rem}.key svg{min-width:0}</style>"
        f'<div class="legend">{legend}</div><div class="frontier" tabindex="0" role="group" '
        'aria-label="Recall against time">'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" fill="currentColor" '
        f'font-size="12"><title>Recall against time</title>{"".join(parts)}</svg></div>'
    )


class _Scale:
    """Where a recall and a time stand in the picture."""

    def __init__(self, marks: Sequence[Mark], target: float | None) -> None:
        times = [math.log10(max(mark.milliseconds, 1e-4)) for mark in marks]
        self.first, self.last = min(times) - 0.08, max(times) + 0.08
        lowest = min([mark.recall for mark in marks] + ([target] if target is not None else []))
        self.floor = min(0.9, lowest)

    def x(self, milliseconds: float) -> float:
        share = (math.log10(max(milliseconds, 1e-4)) - self.first) / (self.last - self.first)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, recall: float) -> float:
        most = math.log10(1 - self.floor + _LEAST_MISSED)
        least = math.log10(_LEAST_MISSED)
        share = (most - math.log10(1 - recall + _LEAST_MISSED)) / (most - least)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def at(self, mark: Mark) -> tuple[float, float]:
        return self.x(mark.milliseconds), self.y(mark.recall)


def _axes(scale: _Scale) -> list[str]:
    left, bottom, right = _LEFT, _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for recall in (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0):
        if recall >= scale.floor:
            y = scale.y(recall)
            parts.append(
                f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="var(--line)"/>'
                f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{recall:g}</text>'
            )
    ticks = [
        digit * 10.0**power
        for power in range(math.floor(scale.first), math.ceil(scale.last) + 1)
        for digit in (1, 2, 5)
        if scale.first <= math.log10(digit * 10.0**power) <= scale.last
    ]
    for tick in ticks:
        x = scale.x(tick)
        parts.append(
            f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="var(--line)"/>'
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>'
        )
    middle = (left + right) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">processor time of one query, '
        "ms (left is faster)</text>"
        f'<text x="13" y="{bottom / 2}" text-anchor="middle" '
        f'transform="rotate(-90 13 {bottom / 2})">recall (up is better)</text>'
    )
    return parts


def _target(scale: _Scale, target: float) -> str:
    y = scale.y(target)
    return (
        f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" '
        f'stroke="currentColor" stroke-dasharray="5 4"/><text x="{_WIDTH - _RIGHT - 4}" '
        f'y="{y + 15:.1f}" text-anchor="end">target {target:g}</text>'
    )


def _mark(scale: _Scale, mark: Mark, shape: str, colour: str) -> str:
    x, y = scale.at(mark)
    return f"<g>{_shape(shape, x, y, colour)}{_title(mark)}</g>"


def _title(mark: Mark, prefix: str = "") -> str:
    text = f"{prefix}{mark.label}: recall {mark.recall:.4f}, {mark.milliseconds:.3g} ms"
    return f"<title>{html.escape(text)}</title>"


def _shape(shape: str, x: float, y: float, colour: str) -> str:
    def path(*points: tuple[float, float]) -> str:
        corners = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in points)
        return f'<polygon points="{corners}" fill="{colour}"/>'

    if shape == "square":
        return path((-4, -4), (4, -4), (4, 4), (-4, 4))
    if shape == "diamond":
        return path((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0))
    if shape == "triangle":
        return path((0, -5.5), (5, 4), (-5, 4))
    if shape == "plus":
        return (
            f'<path d="M{x - 5:.1f} {y:.1f}h10M{x:.1f} {y - 5:.1f}v10" stroke="{colour}" '
            'stroke-width="2.5"/>'
        )
    fill = colour if shape == "circle" else "none"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.2" fill="{fill}" stroke="{colour}"/>'
