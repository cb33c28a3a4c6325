"""What a benchmark found, for people: a table for the terminal and a page with the frontiers."""

from __future__ import annotations

import html
from collections.abc import Sequence

from components.contracts import page
from components.index.benchmark import EXACT, OURS, Measured, Report
from components.index.frontier import Mark, Series, best, draw

RECALLS = (0.9, 0.95, 0.98, 0.99)


def rows(reports: Sequence[Report]) -> list[tuple[str, ...]]:
    """Returns a line a system: queries a second at each recall, building and memory."""
    return [
        (
            report.system,
            *(rate(report.at_recall(recall)) for recall in RECALLS),
            rate(report.at_recall(0.95, batched=True)),
            f"{report.build_seconds:.1f}" if report.build_seconds > 0.05 else "-",
            f"{report.memory_mb:,.0f}" if report.memory_mb > 0.5 else "-",
        )
        for report in reports
    ]


def columns(k: int) -> tuple[str, ...]:
    """Returns the headings of `rows`."""
    return (
        "system",
        *(f"recall@{k} {recall:g}" for recall in RECALLS),
        "batched 0.95",
        "build s",
        "MB",
    )


def rate(milliseconds: float | None) -> str:
    """Returns queries a second for people; a dash where a recall is not reached."""
    return "-" if milliseconds is None else f"{1e3 / milliseconds:,.0f}/s"


def text(reports: Sequence[Report], *, k: int) -> str:
    """Returns the table for a terminal."""
    lines = [columns(k), *rows(reports)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def render(
    reports: Sequence[Report], *, title: str, subject: str, k: int, missing: Sequence[str]
) -> str:
    """Returns the page.

    Args:
        reports: The systems measured, ours among them.
        title: Plain text.
        subject: What was searched, in words.
        k: Neighbours asked for.
        missing: Systems that are not installed.
    """
    ordered = sorted(reports, key=lambda one: (one.system != OURS, one.system == EXACT))
    series = [
        Series(
            report.system,
            [Mark(one.recall, one.cpu_ms, f"{report.system}: {one.setting}") for one in shown],
        )
        for report in ordered
        if (shown := report.settings)
    ]
    own = next((one.marks[0] for one in series if one.name == OURS), None)
    note = (
        f"<p>Not installed, so not measured: {html.escape(', '.join(missing))} "
        "(<code>pip install 'lookalike[benchmark]'</code>).</p>"
        if missing
        else ""
    )
    body = [
        f"<p>{html.escape(subject)} One thread, {k} neighbours, the same vectors and queries for "
        "all; recall is counted against exact search. Times are processor times: other programs "
        "on the machine disturb them least. A recall between two settings is read off the line "
        "that joins them.</p>",
        note,
        "<h2>Frontiers</h2>",
        draw(series, chosen=own),
        "<h2>Queries a second at a recall</h2>",
        page.table(columns(k), rows(reports)),
        "<h2>Each system's frontier</h2>",
        page.table(
            ("system", "setting", "recall", "ms a query", "queries/s", "batched/s"),
            [
                (
                    report.system,
                    one.setting,
                    f"{one.recall:.4f}",
                    one.cpu_ms,
                    rate(one.cpu_ms),
                    rate(one.batch_cpu_ms),
                )
                for report in ordered
                for one in _frontier(report)
            ],
        ),
    ]
    return page.page(title, "".join(body))


def _frontier(report: Report) -> list[Measured]:
    marks = {
        Mark(one.recall, one.cpu_ms, str(number)): one for number, one in enumerate(report.settings)
    }
    return [marks[mark] for mark in best(list(marks))]
