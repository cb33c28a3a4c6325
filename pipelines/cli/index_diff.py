"""`lookalike index diff`: what would change, or has changed, between two versions."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from components.contracts.files import write_atomically
from components.registry.bundle_diff import BundleDiff, Figure, compare
from components.registry.opening import open_registry
from pipelines.cli import index_text as text
from pipelines.cli.index_options import (
    answer,
    complete_versions,
    with_registry,
)

_SHOWN = 10


@click.command(
    epilog="Example: lookalike index diff 20261121-bb22 20261122-1a2b3c "
    "--registry gs://shop/registry --html diff.html"
)
@click.argument("a", shell_complete=complete_versions)
@click.argument("b", shell_complete=complete_versions)
@with_registry
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page with the queries whose results changed most, side by side.",
)
def diff(a: str, b: str, registry: str, page: Path | None, as_json: bool) -> None:
    """Compare two versions: parameters, figures with bounds, items, and results.

    Results are those of the golden queries that both were asked when they were built.
    """
    opened = open_registry(registry)
    found = compare(opened, a, b)
    if page is not None:
        # Loaded here: pictures take Pillow, which no other on-call command needs.
        from pipelines.cli.diff_page import render  # noqa: PLC0415

        write_atomically(page, render(opened, a, b, found))
    if as_json:
        answer(
            {
                "a": a,
                "b": b,
                "parameters": [
                    {"name": name, "a": before, "b": after}
                    for name, before, after in found.parameters
                ],
                "figures": [asdict(figure) for figure in found.figures],
                "items": {
                    "a": found.items[0],
                    "b": found.items[1],
                    "added": list(found.added),
                    "removed": list(found.removed),
                },
                "overlap_at_10": found.mean_overlap,
                "queries": [asdict(query) for query in found.queries],
                "html": None if page is None else str(page),
            }
        )
        return
    click.echo(_words(a, b, found))
    if page is not None:
        click.echo(f"\nSide by side: {page}")


def _words(a: str, b: str, found: BundleDiff) -> str:
    parts = [f"A  {a}\nB  {b}"]
    if found.parameters:
        rows = [(name, _value(before), _value(after)) for name, before, after in found.parameters]
        parts.append(text.table(("PARAMETER", "A", "B"), rows))
    else:
        parts.append("Parameters: the same.")
    if found.figures:
        figures = [_figure_row(figure) for figure in found.figures]
        parts.append(text.table(("FIGURE", "A", "B", "CHANGE"), figures, right=("A", "B")))
    parts.append(
        f"Items: {found.items[0]:,} -> {found.items[1]:,}; {len(found.added):,} added"
        f"{_some(found.added)}, {len(found.removed):,} removed{_some(found.removed)}."
    )
    mean = found.mean_overlap
    if mean is None:
        parts.append("Results: the two were asked no golden query in common.")
    else:
        same = sum(query.overlap == 1.0 for query in found.queries)
        parts.append(
            f"Results: overlap@10 is {mean:.0%} over {len(found.queries)} shared queries; "
            f"{same} have the same items."
        )
        changed = [query for query in found.queries if query.overlap < 1.0][:_SHOWN]
        if changed:
            rows = [
                (f"{query.overlap:.0%}", query.query_id, ", ".join(_new(query.before, query.after)))
                for query in changed
            ]
            parts.append(text.table(("OVERLAP", "QUERY", "NEW IN B"), rows, right=("OVERLAP",)))
    return "\n\n".join(parts)


def _new(before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    return [item for item in after if item not in before][:4]


def _value(value: object) -> str:
    shown = "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def _figure_row(figure: Figure) -> tuple[str, str, str, str]:
    before, after = figure.before[0], figure.after[0]
    change = "" if before is None or after is None else f"{after - before:+.4g}"
    return figure.name, _bounded(figure.before), _bounded(figure.after), change


def _bounded(value: tuple[float | None, float | None, float | None]) -> str:
    observed, lower, upper = value
    if observed is None:
        return "-"
    if lower is None and upper is None:
        return f"{observed:.4g}"
    low = "" if lower is None else f"{lower:.3g}"
    high = "" if upper is None else f"{upper:.3g}"
    return f"{observed:.4g} [{low}, {high}]"


def _some(ids: tuple[str, ...]) -> str:
    if not ids:
        return ""
    return f" ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''})"
