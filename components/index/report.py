"""The index step's page: what was built, and the frontier it was chosen from."""

from __future__ import annotations

import html

from components.contracts import page
from components.contracts.bundle import Manifest
from components.index.config import IndexConfig
from components.index.frontier import Mark, Series, draw
from components.index.measure import Point
from components.index.tune import Tuned
from components.search.searcher import IndexParameters

_NAMES = {
    "brute_force": "exact search",
    "ah": "quantised scan",
    "tree_ah": "partitions, quantised scan",
}
# Series that keep a colour and a shape of their own in the picture.
_MOST_SERIES = 6


def render(manifest: Manifest, tuned: Tuned, config: IndexConfig) -> str:
    """Returns the whole page."""
    held_out = tuned.held_out
    left_out = manifest.lineage.get("items_without_embedding", 0)
    reached = held_out.recall_lower >= config.recall_target
    body = [
        page.tiles(
            [
                (f"{manifest.items:,}", f"items x {manifest.embedding_dim} dimensions"),
                (_NAMES[held_out.parameters.backend], "backend"),
                (
                    f"{held_out.recall_lower:.4f}",
                    f"recall@{config.recall_at} promised, with 95% confidence",
                ),
                (f"{held_out.recall:.4f}", f"recall@{config.recall_at} measured"),
                (f"{held_out.p50_ms:.2f} ms", f"median query, p95 {held_out.p95_ms:.2f} ms"),
                (f"{held_out.memory_mb:,.1f} MB", "memory of the searcher"),
            ]
        ),
        f"<p>Version <code>{html.escape(manifest.version)}</code>, mode "
        f"{html.escape(manifest.mode)}. Recall is measured against exact search on "
        f"{tuned.queries:,} queries that played no part in choosing the settings; the target is "
        f"{config.recall_target:g}"
        + (". " if reached else ", <b>which was not reached</b>. ")
        + f"{left_out:,} items have no embedding and are left out.</p>",
        "<h2>Frontier</h2>",
        f"<p>{len(tuned.points):,} settings of {tuned.builds:,} built indexes were measured in "
        f"{tuned.seconds:,.0f} s. The fastest that reaches the target was chosen; of those that "
        "are as fast within 5%, one that needs at least a fifth less memory."
        + (f" The search ended early: {html.escape(tuned.stopped)}." if tuned.stopped else "")
        + "</p>",
        frontier(tuned, target=config.recall_target),
        "<h2>All settings measured</h2>",
        _table(tuned),
    ]
    return page.page(f"Index {manifest.version}", "".join(body))


def frontier(tuned: Tuned, *, target: float) -> str:
    """Returns the picture: one series a built index, the quickest indexes first."""
    groups: dict[str, list[Point]] = {}
    for point in tuned.points:
        groups.setdefault(built_as(point.parameters), []).append(point)
    ours = built_as(tuned.points[tuned.chosen].parameters)

    def fastest(name: str) -> tuple[bool, float]:
        good = [point.cpu_ms for point in groups[name] if point.recall_lower >= target]
        return name != ours, min(good, default=float("inf"))

    names = sorted(groups, key=fastest)
    series = [Series(name, [mark(point) for point in groups[name]]) for name in names]
    rest = [one for group in series[_MOST_SERIES - 1 :] for one in group.marks]
    if len(series) > _MOST_SERIES:
        series = [*series[: _MOST_SERIES - 1], Series("others", rest)]
    return draw(series, target=target, chosen=mark(tuned.points[tuned.chosen]))


def mark(point: Point) -> Mark:
    """Returns a measured setting as a mark in a picture."""
    return Mark(point.recall, point.cpu_ms, f"{built_as(point.parameters)}; {_searched(point)}")


def built_as(parameters: IndexParameters) -> str:
    """Returns how an index was built, in a few words."""
    if parameters.backend == "brute_force":
        return "exact search"
    parts = [
        f"{parameters.leaves:,} partitions" if parameters.leaves else "quantised scan",
        *(["SOAR"] if parameters.soar else []),
        *(["bfloat16"] if parameters.bfloat16_reorder else []),
        f"{parameters.dimensions_per_block} dimensions a code",
        f"threshold {parameters.anisotropic_threshold:g}",
    ]
    return ", ".join(parts)


def _searched(point: Point) -> str:
    parameters = point.parameters
    if parameters.backend == "brute_force":
        return "all scored"
    leaves = f"{parameters.leaves_to_search:,} scanned, " if parameters.leaves else ""
    return f"{leaves}{parameters.reorder:,} reordered"


def _table(tuned: Tuned) -> str:
    return page.table(
        (
            "",
            "index",
            "partitions scanned",
            "reordered",
            "recall",
            "lower bound",
            "processor ms",
            "p50 ms",
            "p95 ms",
            "MB",
            "build s",
        ),
        [
            (
                "chosen" if number == tuned.chosen else "",
                built_as(point.parameters),
                point.parameters.leaves_to_search or "",
                point.parameters.reorder if point.parameters.backend != "brute_force" else "",
                f"{point.recall:.4f}",
                f"{point.recall_lower:.4f}",
                point.cpu_ms,
                point.p50_ms,
                point.p95_ms,
                point.memory_mb,
                point.build_seconds,
            )
            for number, point in enumerate(tuned.points)
        ],
    )
