"""Line charts of a bundle's curves, as SVG that needs nothing else."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH, _HEIGHT = 520, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 16, 16, 44
_COLOURS = ("var(--accent)", "var(--pass)", "var(--wait)", "var(--fail)")
Points = Sequence[tuple[float, float]]


def recall_and_latency(value: Any) -> str:
    """Returns the chart of `index/curve.json`; empty when it is not one."""
    try:
        points = [(float(point["p50_ms"]), float(point["recall"])) for point in value["points"]]
        chosen = points[int(value["chosen"])]
        target = float(value["recall_target"])
        cutoff = int(value.get("recall_at", 10))
    except (KeyError, TypeError, ValueError, IndexError):
        return ""
    return chart(
        {"measured": sorted(points)},
        title=f"Recall@{cutoff} against median latency",
        across="median latency of a query, ms",
        level=(target, f"target {target:g}"),
        mark=(chosen, "chosen"),
        dots=True,
    )


def training(value: Any) -> list[str]:
    """Returns the charts of `encoder/curves.json`: the loss, and the shares that were right."""
    if not isinstance(value, list):
        return []
    loss: list[tuple[float, float]] = []
    shares: dict[str, list[tuple[float, float]]] = {}
    for entry in value:
        try:
            epoch = float(entry["epoch"])
            loss.append((epoch, float(entry["loss"])))
            for split in ("train", "validation", "unseen"):
                for name, share in (entry.get(split) or {}).items():
                    shares.setdefault(f"{split} {name}", []).append((epoch, float(share)))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    charts = [chart({"loss": loss}, title="Training loss", across="epoch")] if loss else []
    if shares:
        kept = dict(list(shares.items())[: len(_COLOURS)])
        charts.append(chart(kept, title="Share classified right", across="epoch"))
    return charts


def chart(
    lines: Mapping[str, Points],
    *,
    title: str,
    across: str,
    level: tuple[float, str] | None = None,
    mark: tuple[tuple[float, float], str] | None = None,
    dots: bool = False,
) -> str:
    """Returns a figure with one line a name.

    Args:
        lines: Points from left to right, by name; what is not finite is left out.
        title: Plain text above it.
        across: What the horizontal axis is.
        level: A horizontal line to compare with, and its name.
        mark: A point to stand out, and its name.
        dots: Whether every point is drawn.
    """
    finite = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        for name, points in lines.items()
    }
    xs = [x for points in finite.values() for x, _ in points]
    ys = [y for points in finite.values() for _, y in points] + ([level[0]] if level else [])
    if not xs:
        return ""
    scale = _Scale(min(xs), max(xs), min(ys), max(ys))
    parts = scale.axes(across)
    if level:
        y = scale.y(level[0])
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="var(--muted)" stroke-dasharray="4 4"/>'
            f'<text x="{_WIDTH - _RIGHT}" y="{y - 5:.1f}" text-anchor="end">'
            f"{html.escape(level[1])}</text>"
        )
    for (_, points), colour in zip(finite.items(), _COLOURS, strict=False):
        path = " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if dots or len(points) == 1:
            parts += [
                f'<circle cx="{scale.x(x):.1f}" cy="{scale.y(y):.1f}" r="3" fill="{colour}">'
                f"<title>{x:.4g}, {y:.4g}</title></circle>"
                for x, y in points
            ]
    if mark:
        (x, y), name = mark
        parts.append(
            f'<circle cx="{scale.x(x):.1f}" cy="{scale.y(y):.1f}" r="7" fill="none" '
            f'stroke="var(--fg)" stroke-width="2"><title>{html.escape(name)}: {x:.4g}, {y:.4g}'
            "</title></circle>"
        )
    return (
        f'<figure class="chart"><figcaption>{html.escape(title)}{_legend(finite)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}" '
        f'fill="currentColor" font-size="12">{"".join(parts)}</svg></figure>'
    )


def _legend(lines: Mapping[str, Points]) -> str:
    if len(lines) < 2:
        return ""
    keys = "".join(
        f'<span><svg viewBox="0 0 10 10" width="10" height="10" aria-hidden="true">'
        f'<rect width="10" height="10" rx="2" fill="{colour}"/></svg> {html.escape(name)}</span>'
        for name, colour in zip(lines, _COLOURS, strict=False)
    )
    return f'<span class="legend">{keys}</span>'


def _ticks(low: float, high: float) -> list[float]:
    """Returns three to seven round values between two."""
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.8)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


class _Scale:
    """From values to places in the figure."""

    def __init__(self, left: float, right: float, low: float, high: float) -> None:
        # A line of one point, or a flat one, still needs a width and a height.
        side = max(abs(left), 1e-6) / 2
        self._left, self._right = (left, right) if right > left else (left - side, left + side)
        room = 0.06 * (high - low) or max(abs(high), 1e-6) * 0.05
        self._low, self._high = low - room, high + room

    def x(self, value: float) -> float:
        share = (value - self._left) / (self._right - self._left)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self, across: str) -> list[str]:
        parts = []
        for value in _ticks(self._low, self._high):
            y = self.y(value)
            parts.append(
                f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                f'stroke="var(--line)"/><text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                f"{value:.6g}</text>"
            )
        for value, anchor in ((self._left, "start"), (self._right, "end")):
            parts.append(
                f'<text x="{self.x(value):.1f}" y="{_HEIGHT - _BOTTOM + 18}" '
                f'text-anchor="{anchor}">{value:.3g}</text>'
            )
        parts.append(
            f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">'
            f"{html.escape(across)}</text>"
        )
        return parts
