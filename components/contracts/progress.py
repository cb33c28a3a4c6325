"""How far a step is: a file that the local runner's table reads, and log lines for everyone else.

A step does not know who watches it. Where `LOOKALIKE_PROGRESS` names a file, each report replaces
its content with one JSON object; the log gets a line every few seconds either way.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from components.contracts.files import write_atomically

ENVIRONMENT_VARIABLE = "LOOKALIKE_PROGRESS"
_FILE_INTERVAL = 0.2
_LOG_INTERVAL = 5.0
_TALLY_INTERVAL = 0.5


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

    @contextlib.contextmanager
    def following(self, tally: Tally) -> Iterator[None]:
        """Counts what workers tell, while the body waits for them."""
        over = threading.Event()

        def follow() -> None:
            ended = False
            while not ended:
                ended = over.wait(_TALLY_INTERVAL)
                done, rejects = tally.read()
                # A bundle that an engine repeats is told of twice.
                done = done if self.total is None else min(done, self.total)
                # A full disk is for the work to tell of.
                with contextlib.suppress(OSError):
                    self.advance(max(0, done - self.done), rejects=max(0, rejects - self.rejects))

        thread = threading.Thread(target=follow, name=f"progress of {self.phase}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

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


class Tally:
    """Where workers, which may be other processes, tell how much they have done.

    Each process appends to a file of its own in a folder that the step sees, too. Telling must
    never fail the work: where the folder cannot be written to, the step only knows less.
    """

    def __init__(self, folder: str) -> None:
        """Keeps the folder; an instance may be pickled.

        Args:
            folder: Made when something is told.
        """
        self._folder = folder

    def add(self, done: int, *, rejects: int = 0) -> None:
        """Tells of `done` more items, `rejects` of them set aside."""
        with contextlib.suppress(OSError):
            folder = Path(self._folder)
            folder.mkdir(parents=True, exist_ok=True)
            # One short write at the end of the file: threads do not cut each other's lines.
            with (folder / f"{socket.gethostname()}-{os.getpid()}").open("ab", buffering=0) as file:
                file.write(b"%d %d\n" % (done, rejects))

    def read(self) -> tuple[int, int]:
        """Returns how much all workers have done, and how much of it they set aside."""
        done = rejects = 0
        with contextlib.suppress(OSError):
            for path in Path(self._folder).iterdir():
                # What stands after the last line break is being written.
                for line in path.read_bytes().split(b"\n")[:-1]:
                    with contextlib.suppress(ValueError):
                        more, bad = map(int, line.split())
                        done, rejects = done + more, rejects + bad
        return done, rejects
