"""What the `lookalike index` commands print: made for a tired person and a narrow terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime

import click

_STYLES = {
    "pass": {"fg": "green"},
    "fail": {"fg": "red", "bold": True},
    "undecided": {"fg": "yellow"},
    "expired": {"fg": "yellow"},
    "live": {"fg": "green", "bold": True},
    "alarm": {"fg": "red", "bold": True},
    "quiet": {"dim": True},
}


def width() -> int:
    """Returns the columns to write in: the terminal's, at least 40 and at most 120."""
    return max(40, min(shutil.get_terminal_size().columns, 120))


def styled(text: str, style: str) -> str:
    """Returns the text in a style's colours; click leaves them out where there is no terminal."""
    return click.style(text, **_STYLES.get(style, {}))  # type: ignore[arg-type]


def moment(created: str, *, now: datetime | None = None) -> str:
    """Returns a time for people, `2026-11-22 18:31 UTC (3 h ago)`; what is no time, as it is."""
    try:
        then = datetime.fromisoformat(created).astimezone(UTC)
    except ValueError:
        return created or "unknown"
    return f"{then:%Y-%m-%d %H:%M} UTC ({ago(((now or datetime.now(UTC)) - then).total_seconds())})"


def ago(seconds: float) -> str:
    """Returns how long ago in the one unit that matters: `8 s ago`, `3 h ago`, `12 days ago`."""
    if seconds < -60:
        return "in the future: check the clocks"
    seconds = max(seconds, 0)
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds / 86400:.0f} days ago"


def fields(pairs: Sequence[tuple[str, str]], *, indent: int = 2) -> str:
    """Returns `name  value` lines, values wrapped under themselves.

    Args:
        pairs: Name and value; a value may hold several lines.
        indent: Spaces before the names.
    """
    label = max((len(name) for name, _ in pairs), default=0)
    lines: list[str] = []
    for name, value in pairs:
        head = f"{' ' * indent}{name:<{label}}  "
        for number, part in enumerate(value.splitlines() or [""]):
            lines.append(
                textwrap.fill(
                    part,
                    width(),
                    initial_indent=head if number == 0 else " " * len(head),
                    subsequent_indent=" " * len(head),
                    break_on_hyphens=False,
                    break_long_words=False,
                )
            )
    return "\n".join(lines)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> str:
    """Returns a plain table; when it is too wide, the last column is wrapped under itself.

    Args:
        columns: Headings.
        rows: Text cells.
        right: The headings of columns to set flush right.
    """
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    before = sum(widths[:-1]) + 2 * (len(columns) - 1)
    last = max(width() - before, 16)
    lines: list[str] = []
    for number, row in enumerate([columns, *rows]):
        cells = [
            cell.rjust(size) if name in right else cell.ljust(size)
            for name, cell, size in zip(columns[:-1], row, widths)
        ]
        parts = textwrap.wrap(row[-1], last, break_on_hyphens=False) or [""]
        line = "  ".join([*cells, parts[0]]).rstrip()
        lines.append(styled(line, "quiet") if number == 0 else line)
        lines.extend(" " * before + part for part in parts[1:])
    return "\n".join(lines)
