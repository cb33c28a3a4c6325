"""What the `lookalike index` commands print: made for a tired person and a narrow terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

import click

from components.contracts.moments import ago, moment

__all__ = ["ago", "bullets", "fields", "moment", "styled", "table", "width"]

# Columns that the last column of a table gets before it is given up for a stacked one.
_LAST = 24
_STYLES = {
    "pass": {"fg": "green"},
    "fail": {"fg": "red", "bold": True},
    "undecided": {"fg": "yellow"},
    "expired": {"fg": "yellow"},
    "live": {"fg": "green", "bold": True},
    "strong": {"bold": True},
    "alarm": {"fg": "red", "bold": True},
    "quiet": {"dim": True},
}


def width() -> int:
    """Returns the columns to write in: the terminal's, at least 40 and at most 120."""
    return max(40, min(shutil.get_terminal_size().columns, 120))


def styled(text: str, style: str) -> str:
    """Returns the text in a style's colours; click leaves them out where there is no terminal."""
    return click.style(text, **_STYLES.get(style, {}))  # type: ignore[arg-type]


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
    """Returns a plain table that keeps within the terminal.

    The last column is wrapped under itself. When that is not enough, the first cell of each row
    stands on a line of its own, and the others under it.

    Args:
        columns: Headings.
        rows: Text cells.
        right: The headings of columns to set flush right.
    """
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    before = sum(widths[:-1]) + 2 * (len(columns) - 1)
    stacked = before + min(widths[-1], _LAST) > width() and len(columns) > 1
    start = 1 if stacked else 0
    if stacked:
        before -= widths[0]
    last = max(width() - before, 1)
    lines: list[str] = []
    for number, row in enumerate([columns, *rows]):
        if stacked:
            lines.append(_heading(row[0]) if number == 0 else row[0])
        cells = [
            cell.rjust(size) if name in right else cell.ljust(size)
            for name, cell, size in list(zip(columns[:-1], row, widths))[start:]
        ]
        parts = textwrap.wrap(row[-1], last, break_on_hyphens=False) or [""]
        line = ("  " * start + "  ".join([*cells, parts[0]])).rstrip()
        lines.append(_heading(line) if number == 0 else line)
        lines.extend(" " * before + part for part in parts[1:])
    return "\n".join(lines)


def bullets(head: str, reasons: Sequence[str], *, wrap: bool) -> str:
    """Returns a line and the reasons under it.

    Args:
        head: The line.
        reasons: One sentence each.
        wrap: Whether to wrap them to the terminal; never for programs, which read lines.
    """
    lines = [head]
    for reason in reasons:
        lines.append(
            textwrap.fill(
                reason,
                width(),
                initial_indent="  - ",
                subsequent_indent="    ",
                break_on_hyphens=False,
                break_long_words=False,
            )
            if wrap
            else f"  - {reason}"
        )
    return "\n".join(lines)


def _heading(line: str) -> str:
    return styled(line, "quiet")
