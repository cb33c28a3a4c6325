"""Signs of life of the workers: who is silent, and what it did last.

All workers of a group wait for the slowest in every step, so a stall shows on all of them. Each
one says once a second how far it is and what it waits for; the launcher names the one to blame.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Phase = Literal["starting", "reading", "computing", "saving"]
_BEAT_SECONDS = 1.0


class Heartbeat:
    """A worker's own: says every second, from a thread, how far the worker is."""

    def __init__(self, directory: Path, worker: int) -> None:
        """Starts to beat.

        Args:
            directory: Where the group's signs of life are.
            worker: Number of this worker.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._file = _file(directory, worker)
        self._state: tuple[int, Phase] = (0, "starting")
        self._beats = 0
        self._write()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def at(self, step: int, phase: Phase) -> None:
        """Says what the worker does now; costs nothing."""
        self._state = (step, phase)

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(_BEAT_SECONDS):
            self._write()

    def _write(self) -> None:
        step, phase = self._state
        self._beats += 1
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps({"beats": self._beats, "step": step, "phase": phase}))
        os.replace(temporary, self._file)


@dataclass
class _Seen:
    beats: int
    beat_at: float
    step: int
    phase: str
    changed_at: float


class Watch:
    """The launcher's view of a group."""

    def __init__(self, directory: Path, workers: int, now: float) -> None:
        """Starts to watch.

        Args:
            directory: Where the group's signs of life are; what lies there is forgotten.
            workers: Size of the group.
            now: The time, in seconds of a monotonic clock.
        """
        self._directory = directory
        self._seen = [_Seen(0, now, 0, "starting", now) for _ in range(workers)]
        for worker in range(workers):
            _file(directory, worker).unlink(missing_ok=True)

    def stalled(self, now: float, limit: float) -> str:
        """Returns who holds the group up, and how, in words; empty while all is well.

        Args:
            now: The time, in seconds of the same clock.
            limit: How long a group may make no step, in seconds.
        """
        for worker, seen in enumerate(self._seen):
            self._look(worker, seen, now)
        if all(now - seen.changed_at < limit for seen in self._seen):
            return ""
        # A process that does not run at all does not beat either.
        for worker, seen in enumerate(self._seen):
            if now - seen.beat_at >= min(limit, 10 * _BEAT_SECONDS):
                return (
                    f"worker {worker} is silent for {now - seen.beat_at:.0f} s (last: step "
                    f"{seen.step}, {seen.phase}); its process is stopped or starved"
                )
        oldest = min(self._seen, key=lambda seen: seen.step)
        behind = [
            worker
            for worker, seen in enumerate(self._seen)
            if seen.phase == "reading" or seen.step < max(s.step for s in self._seen)
        ]
        if behind:
            named = " and ".join(f"worker {worker}" for worker in behind)
            return (
                f"{named} made no step for {now - self._seen[behind[0]].changed_at:.0f} s: "
                f"{self._seen[behind[0]].phase} at step {self._seen[behind[0]].step}"
            )
        return (
            f"all workers made no step for {limit:.0f} s: {oldest.phase} at step {oldest.step}; "
            "they wait for each other, or for a machine that is overloaded"
        )

    def _look(self, worker: int, seen: _Seen, now: float) -> None:
        try:
            said = json.loads(_file(self._directory, worker).read_text())
            beats, step, phase = int(said["beats"]), int(said["step"]), str(said["phase"])
        except (OSError, ValueError, KeyError):
            return
        if beats != seen.beats:
            seen.beats, seen.beat_at = beats, now
        if (step, phase) != (seen.step, seen.phase):
            seen.step, seen.phase, seen.changed_at = step, phase, now


def _file(directory: Path, worker: int) -> Path:
    return directory / f"worker-{worker}.json"
