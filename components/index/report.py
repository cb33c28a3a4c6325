"""The index step's page: what was built, and the recall/latency curve with the chosen point."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from components.contracts import page
from components.contracts.bundle import Manifest
from components.index.config import IndexConfig
from components.index.tune import Point, Tuned

_WIDTH, _HEIGHT, _MARGIN = 640, 320, 56


def render(manifest: Manifest, tuned: Tuned, config: IndexConfig) -> str:
    """Returns the whole page."""
    held_out = tuned.held_out
    left_out = manifest.lineage.get("items_without_embedding", 0)
    recall_label = f"recall@{config.recall_at}, at least {held_out.recall_lower:.4f} with 95%"
    body = [
        page.tiles(
            [
                (f"{manifest.items:,}", f"items x {manifest.embedding_dim} dimensions"),
                (manifest.index["backend"], "backend"),
                (f"{held_out.recall:.4f}", recall_label),
                (f"{held_out.p50_ms:.2f} ms", f"median query, p95 {held_out.p95_ms:.2f} ms"),
            ]
        ),
        f"<p>Version <code>{html.escape(manifest.version)}</code>, mode "
        f"{html.escape(manifest.mode)}. Recall is measured against exact search on "
        f"{tuned.queries} queries that played no part in choosing the settings; the target is "
        f"{config.recall_target:g}. {left_out} items have no embedding and are left out.</p>",
        "<h2>Recall and latency</h2>",
        curve(tuned.points, tuned.chosen, target=config.recall_target),
        page.table(
            ("", "leaves searched", "reordered", "recall", "lower bound", "p50 ms", "p95 ms"),
            [
                (
                    "chosen" if number == tuned.chosen else "",
                    point.leaves_to_search,
                    point.reorder,
                    point.recall,
                    point.recall_lower,
                    point.p50_ms,
                    point.p95_ms,
                )
                for number, point in enumerate(tuned.points)
            ],
        ),
    ]
    return page.page(f"Index {manifest.version}", "".join(body))


def curve(points: Sequence[Point], chosen: int, *, target: float) -> str:
    """Returns an SVG of recall against the median latency on a logarithmic axis."""
    low = min(math.log10(max(point.p50_ms, 1e-4)) for point in points) - 0.1
    high = max(math.log10(max(point.p50_ms, 1e-4)) for point in points) + 0.1
    floor = min(0.9, *(point.recall for point in points), target) - 0.02

    def at(milliseconds: float, recall: float) -> tuple[float, float]:
        x = (math.log10(max(milliseconds, 1e-4)) - low) / (high - low)
        y = (recall - floor) / (1.0 - floor)
        return (
            _MARGIN + x * (_WIDTH - 2 * _MARGIN),
            _HEIGHT - _MARGIN - y * (_HEIGHT - 2 * _MARGIN),
        )

    _, line = at(1.0, target)
    left, bottom, right = _MARGIN, _HEIGHT - _MARGIN, _WIDTH - _MARGIN
    parts = [
        f'<line x1="{left}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="currentColor"/>',
        f'<line x1="{left}" y1="{_MARGIN}" x2="{left}" y2="{bottom}" stroke="currentColor"/>',
        f'<line x1="{left}" y1="{line:.1f}" x2="{right}" y2="{line:.1f}" stroke="currentColor" '
        f'stroke-dasharray="4 4"/><text x="{left + 4}" y="{line - 5:.1f}">target {target:g}</text>',
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 14}" text-anchor="middle">median latency of a '
        "query, ms (log)</text>",
        f'<text x="14" y="{_HEIGHT / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {_HEIGHT / 2})">recall</text>',
        f'<text x="{left - 6}" y="{at(1.0, 1.0)[1] + 4:.1f}" text-anchor="end">1</text>',
        f'<text x="{left - 6}" y="{bottom}" text-anchor="end">{floor:.2f}</text>',
    ]
    for end, anchor in ((low, "start"), (high, "end")):
        x, _ = at(10**end, 1.0)
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="{anchor}">{10**end:.3g}</text>'
        )
    for number, point in enumerate(points):
        x, y = at(point.p50_ms, point.recall)
        best = number == chosen
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{7 if best else 4}" '
            f'fill="{"var(--accent)" if best else "none"}" stroke="currentColor">'
            f"<title>{point.leaves_to_search} leaves, reorder {point.reorder}: recall "
            f"{point.recall:.4f}, {point.p50_ms:.3f} ms</title></circle>"
        )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" fill="currentColor" '
        f'font-size="12"><title>Recall against latency</title>{"".join(parts)}</svg>'
    )
