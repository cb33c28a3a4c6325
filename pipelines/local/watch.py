"""What a person sees while the pipeline runs: a live table, or plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.local.step_cache import StepResult

_LINE_INTERVAL = 15.0
_BAR_WIDTH = 16


@dataclass
class _Row:
    status: str = "waiting"
    started: float = 0.0
    seconds: float | None = None
    state: Mapping[str, Any] | None = None


def duration(seconds: float) -> str:
    """Returns a duration as people read it: `0.4 s`, `12 s`, `3:07`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def describe(state: Mapping[str, Any]) -> str:
    """Returns a progress state in words: what matters most first, for a line may be cut."""
    done, total, rate = state["done"], state.get("total"), state.get("rate") or 0.0
    parts = [f"{done / total:.0%}"] if total else []
    if total and 0 < done < total and rate > 0:
        parts.append(f"{duration((total - done) / rate)} left")
    count = f"{done}/{total}" if total else f"{done}"
    parts.append(f"{count} {state['unit']}")
    if rate > 0:
        parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s")
    if state.get("rejects"):
        parts.append(f"{state['rejects']} rejects")
    if state.get("note"):
        parts.append(str(state["note"]))
    return ", ".join(parts)


def retry_line(step: str, message: str, pause_s: float) -> str:
    """Returns what people are told when a step is tried again."""
    return f"{message}\n{step}: tried again in {duration(pause_s)} (Ctrl-C to stop)"


class LiveTable:
    """A table of the steps that redraws itself; use as a context manager."""

    def __init__(self, steps: Sequence[str], console: Console) -> None:
        """Shows `steps` in order, all waiting."""
        self._rows = {step: _Row() for step in steps}
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=5)

    def __enter__(self) -> Self:
        """Starts drawing."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the last state on the screen."""
        self._live.stop()

    def started(self, step: str) -> None:
        """A step begins."""
        self._rows[step] = _Row("running", time.monotonic())

    def progressed(self, step: str, state: Mapping[str, Any]) -> None:
        """A running step said how far it is."""
        self._rows[step].state = state

    def finished(self, result: StepResult) -> None:
        """A step ended well, or was found finished."""
        row = self._rows[result.step]
        row.status = "cached" if result.cached else "done"
        row.seconds = result.seconds

    def skipped(self, step: str, branch: str) -> None:
        """A step lies in a branch that is not taken."""
        del branch  # The outcome below the table says which was.
        self._rows[step].status = "not taken"

    def retrying(self, step: str, message: str, pause_s: float) -> None:
        """A step did not end well and is tried again after a pause."""
        self._live.console.print(retry_line(step, message, pause_s), style="yellow", markup=False)
        row = self._rows[step]
        row.status, row.seconds = "again", time.monotonic() - row.started

    def failed(self, step: str, message: str) -> None:
        """A step did not end well."""
        del message  # Printed below the table once, in full.
        row = self._rows[step]
        row.status, row.seconds = "failed", time.monotonic() - row.started

    def _table(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=True, header_style="dim")
        table.add_column("step", no_wrap=True)
        table.add_column("status", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        table.add_column("progress", ratio=1)
        marks = {
            "waiting": Text("· waiting", "dim"),
            "running": Text("▶ running", "bold cyan"),
            "done": Text("✓ done", "green"),
            "cached": Text("✓ cached", "blue"),
            "failed": Text("✗ failed", "bold red"),
            "again": Text("↻ tried again", "yellow"),
            "not taken": Text("- not taken", "dim"),
        }
        for step, row in self._rows.items():
            table.add_row(step, marks[row.status], self._time(row), _progress(row))
        return table

    @staticmethod
    def _time(row: _Row) -> Text:
        if row.status in ("waiting", "not taken"):
            return Text("")
        if row.status == "cached":
            return Text(f"({duration(row.seconds or 0)})", "dim")
        return Text(duration(row.seconds or time.monotonic() - row.started))


def _progress(row: _Row) -> RenderableType:
    if row.status != "running" or row.state is None:
        return Text("")
    text = Text(describe(row.state), overflow="ellipsis", no_wrap=True)
    total = row.state.get("total")
    if not total:
        return text
    grid = Table.grid(padding=(0, 1, 0, 0), expand=True)
    grid.add_column(width=_BAR_WIDTH)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_row(ProgressBar(total=total, completed=row.state["done"], width=_BAR_WIDTH), text)
    return grid


class PlainLines:
    """One line an event on standard error, for logs and pipes."""

    def __init__(self) -> None:
        """Starts quiet."""
        self._last = 0.0

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to stop."""

    @staticmethod
    def _print(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def started(self, step: str) -> None:
        """A step begins."""
        self._last = time.monotonic()
        self._print(f"{step}: started")

    def progressed(self, step: str, state: Mapping[str, Any]) -> None:
        """A running step said how far it is; said again here every few seconds."""
        if time.monotonic() - self._last >= _LINE_INTERVAL:
            self._last = time.monotonic()
            self._print(f"{step}: {describe(state)}")

    def finished(self, result: StepResult) -> None:
        """A step ended well, or was found finished."""
        how = "cached, took" if result.cached else "done in"
        self._print(f"{result.step}: {how} {duration(result.seconds)}")

    def skipped(self, step: str, branch: str) -> None:
        """A step lies in a branch that is not taken."""
        self._print(f"{step}: not taken ({branch})")

    def retrying(self, step: str, message: str, pause_s: float) -> None:
        """A step did not end well and is tried again after a pause."""
        self._print(retry_line(step, message, pause_s))

    def failed(self, step: str, message: str) -> None:
        """A step did not end well."""
        del message  # Printed once, in full, when the run ends.
        self._print(f"{step}: failed")
