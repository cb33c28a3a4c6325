"""How far a step is: a file that the local runner's table reads, and log lines for everyone else.

A step does not know who watches it. Where `LOOKALIKE_PROGRESS` names a file, each report replaces
its content with one JSON object; the log gets a line every few seconds either way.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from components.contracts.files import write_atomically

ENVIRONMENT_VARIABLE = "LOOKALIKE_PROGRESS"
_FILE_INTERVAL = 0.2
_LOG_INTERVAL = 5.0


class Progress:
    """Counts what is done; use as a context manager.

    Example:
        with Progress("embed", total=len(items), unit="images") as progress:
            for item in items:
                ...
                progress.advance()
    """

    def __init__(self, phase: str, *, total: int | None = None, unit: str = "items") -> None:
        """Starts counting.

        Args:
            phase: What is being done, for people.
            total: How many there will be, None when unknown.
            unit: What is counted, in the plural.
        """
        self.phase = phase
        self.total = total
        self.unit = unit
        self.done = 0
        self.rejects = 0
        self.note = ""
        target = os.environ.get(ENVIRONMENT_VARIABLE)
        self._file = Path(target) if target else None
        self._start = time.monotonic()
        self._last_file = self._last_log = float("-inf")

    def __enter__(self) -> Self:
        """Reports zero."""
        self._report(force_file=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Reports the end of the phase."""
        self._report(force_file=True, force_log=kind is None)

    def advance(self, count: int = 1, *, rejects: int = 0, note: str | None = None) -> None:
        """Adds `count` done items, `rejects` of them set aside; `note` replaces the remark."""
        self.done += count
        self.rejects += rejects
        if note is not None:
            self.note = note
        self._report()

    def _report(self, *, force_file: bool = False, force_log: bool = False) -> None:
        now = time.monotonic()
        elapsed = now - self._start
        rate = self.done / elapsed if elapsed > 0 else 0.0
        if self._file and (force_file or now - self._last_file >= _FILE_INTERVAL):
            self._last_file = now
            state = {
                "phase": self.phase,
                "done": self.done,
                "total": self.total,
                "unit": self.unit,
                "rate": rate,
                "rejects": self.rejects,
                "note": self.note,
            }
            write_atomically(self._file, json.dumps(state))
        if force_log or now - self._last_log >= _LOG_INTERVAL:
            self._last_log = now
            print(self._line(rate), file=sys.stderr, flush=True)

    def _line(self, rate: float) -> str:
        of_total = f"/{self.total}" if self.total is not None else ""
        parts = [f"{self.phase}: {self.done}{of_total} {self.unit}", f"{rate:.1f}/s"]
        if self.total is not None and 0 < self.done < self.total and rate > 0:
            parts.append(f"{(self.total - self.done) / rate:.0f} s left")
        if self.rejects:
            parts.append(f"{self.rejects} rejects")
        if self.note:
            parts.append(self.note)
        return ", ".join(parts)
