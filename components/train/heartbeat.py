"""Signs of life of the workers: who is silent, and what it did last.

All workers of a group wait for the slowest in every step, so a stall shows on all of them. Each
one says once a second how far it is and what it waits for; the launcher names the one to blame.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Phase = Literal["starting", "reading", "computing", "evaluating", "saving", "ending"]
# What a worker does while it waits for the others: they are to blame, not it.
_WAITING: tuple[str, ...] = ("computing", "ending")
_BEAT_SECONDS = 1.0
_SILENT_SECONDS = 10 * _BEAT_SECONDS
# Counted in another's beats and not in seconds: a disk that hangs for a while silences them all.
_BEATS_MISSED = 20
_PATIENCE_SECONDS = 5.0


class Heartbeat:
    """A worker's own: says every second, from a thread, how far the worker is."""

    def __init__(self, directory: Path, worker: int) -> None:
        """Starts to beat; goes on until the process ends, whatever becomes of the disk.

        Args:
            directory: Where the group's signs of life are.
            worker: Number of this worker.
        """
        self._file = _file(directory, worker)
        self._state: tuple[int, Phase, int] = (0, "starting", 0)
        self._beats = 0
        self._has_directory = False
        self._failing = False
        self._ending = threading.Event()
        self._try_to_write()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()
        # A worker that has done its work may have to wait for the others until it may end; Python
        # has ended its threads by then, and nobody must take that for silence.
        atexit.register(self.end)

    def at(self, step: int, phase: Phase) -> None:
        """Says what the worker does now; costs nothing.

        Each call counts as progress, also one that says the same again: call it as a long phase
        advances, and not while nothing does.

        Args:
            step: Optimiser steps done.
            phase: What comes now.
        """
        self._state = (step, phase, self._state[2] + 1)

    def end(self) -> None:
        """Says for the last time, before it returns, that the worker is about to end."""
        atexit.unregister(self.end)
        self._ending.set()
        self._thread.join(timeout=_PATIENCE_SECONDS)
        self.at(self._state[0], "ending")
        self._try_to_write()

    def _beat(self) -> None:
        while not self._ending.wait(_BEAT_SECONDS):
            self._try_to_write()

    def _try_to_write(self) -> None:
        """Writes once; a failure is told, and the next beat tries again."""
        try:
            if not self._has_directory:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._has_directory = True
            self._write()
        except OSError as error:
            self._has_directory = False
            if not self._failing and not self._ending.is_set():
                print(
                    f"train: the sign of life cannot be written ({error}); trying again every "
                    f"{_BEAT_SECONDS:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
            self._failing = True
        else:
            self._failing = False

    def _write(self) -> None:
        step, phase, calls = self._state
        self._beats += 1
        temporary = self._file.with_suffix(".new")
        values = {"beats": self._beats, "step": step, "phase": phase, "calls": calls}
        temporary.write_text(json.dumps(values))
        os.replace(temporary, self._file)


@dataclass
class _Seen:
    """What the launcher knows of a worker.

    Attributes:
        beats: The number of its last beat; 0 before the first.
        beat_at: When that was seen, in seconds.
        heard: How many of its beats were seen.
        heard_of_all: The same of every worker, when this one was heard last.
        said: Step, phase and number of calls.
        changed_at: When that changed last, in seconds.
        has_ended: Whether its process has ended well.
    """

    beat_at: float
    changed_at: float
    beats: int = 0
    heard: int = 0
    heard_of_all: tuple[int, ...] = ()
    said: tuple[int, str, int] = (0, "starting", 0)
    has_ended: bool = False

    @property
    def step(self) -> int:
        return self.said[0]

    @property
    def phase(self) -> str:
        return self.said[1]


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
        self._seen = [_Seen(now, now) for _ in range(workers)]
        for worker in range(workers):
            _file(directory, worker).unlink(missing_ok=True)

    def ended(self, worker: int, now: float) -> None:
        """Takes down that a worker's process has ended well: it owes no sign of life any more.

        Args:
            worker: Its number.
            now: The time, in seconds of the same clock.
        """
        seen = self._seen[worker]
        seen.has_ended, seen.changed_at = True, now

    def stalled(self, now: float, limit: float) -> str:
        """Returns who holds the group up, and how, in words; empty while all is well.

        Args:
            now: The time, in seconds of the same clock.
            limit: How long a group may make no progress, in seconds. A worker that is silent while
                another one beats is named earlier, after 20 s.
        """
        self._take_down(now)
        running = [number for number, seen in enumerate(self._seen) if not seen.has_ended]
        for worker in running:
            if self._beats_missed(worker) >= _BEATS_MISSED:
                return self._silence(worker, now)
        # A step needs all workers: while one of them advances, the others wait for it.
        if not running or now - max(seen.changed_at for seen in self._seen) < limit:
            return ""
        return self._who_is_silent(running, now, limit) or self._who_is_slow(running, now, limit)

    def silent(self, now: float, running: Sequence[int]) -> str:
        """Returns which worker is silent for some seconds, in words; empty when none is.

        For a group that has lost a worker: less patient than `stalled`.

        Args:
            now: The time, in seconds of the same clock.
            running: The workers whose processes have not ended.
        """
        self._take_down(now)
        owing = [
            number
            for number in running
            if (seen := self._seen[number]).beats
            and self._owes_a_beat(seen)
            and now - seen.beat_at >= _PATIENCE_SECONDS
        ]
        if not owing:
            return ""
        return self._silence(min(owing, key=self._beat_at), now)

    def last_said(self, worker: int) -> str:
        """Returns where a worker said last that it is, in words."""
        seen = self._seen[worker]
        return f"last: step {seen.step}, {seen.phase}"

    def _who_is_silent(self, running: Sequence[int], now: float, limit: float) -> str:
        """Names the processes that do not run at all: they do not beat either."""
        owing = [number for number in running if self._owes_a_beat(self._seen[number])]
        patience = min(limit, _SILENT_SECONDS)
        silent = [number for number in owing if now - self._seen[number].beat_at >= patience]
        fallen_silent = [number for number in silent if self._seen[number].beats]
        if not silent:
            return ""
        if not fallen_silent:
            return f"{_named(silent)} did not come so far as to train within {limit:.0f} s"
        words = self._silence(min(fallen_silent, key=self._beat_at), now)
        if len(silent) == len(owing):
            words += f"; no worker gives a sign of life: is the disk of {self._directory} full?"
        return words

    def _who_is_slow(self, running: Sequence[int], now: float, limit: float) -> str:
        """Names the workers that the others wait for."""
        furthest = max(seen.step for seen in self._seen)
        behind = [
            number
            for number in running
            if self._seen[number].phase not in _WAITING or self._seen[number].step < furthest
        ]
        if behind:
            first = self._seen[behind[0]]
            return (
                f"{_named(behind)} made no step for {now - first.changed_at:.0f} s: "
                f"{first.phase} at step {first.step}"
            )
        oldest = min((self._seen[number] for number in running), key=lambda seen: seen.step)
        return (
            f"all workers made no step for {limit:.0f} s: {oldest.phase} at step {oldest.step}; "
            "they wait for each other, or for a machine that is overloaded"
        )

    def _silence(self, worker: int, now: float) -> str:
        seen = self._seen[worker]
        return (
            f"worker {worker} is silent for {now - seen.beat_at:.0f} s "
            f"({self.last_said(worker)}); its process is stopped or starved"
        )

    def _beat_at(self, worker: int) -> float:
        return self._seen[worker].beat_at

    @staticmethod
    def _owes_a_beat(seen: _Seen) -> bool:
        return not seen.has_ended and seen.phase != "ending"

    def _beats_missed(self, worker: int) -> int:
        """Returns how often another worker has beaten since this one did; 0 before its first."""
        seen = self._seen[worker]
        if not seen.beats or not self._owes_a_beat(seen):
            return 0
        return max(
            other.heard - before
            for other, before in zip(self._seen, seen.heard_of_all, strict=True)
        )

    def _take_down(self, now: float) -> None:
        """Reads what every worker says."""
        new = [
            seen
            for number, seen in enumerate(self._seen)
            if not seen.has_ended and self._look(number, seen, now)
        ]
        heard = tuple(seen.heard for seen in self._seen)
        for seen in new:
            seen.heard_of_all = heard

    def _look(self, worker: int, seen: _Seen, now: float) -> bool:
        """Reads what one worker says; returns whether that is new."""
        try:
            told = json.loads(_file(self._directory, worker).read_text())
            beats = int(told["beats"])
            said = int(told["step"]), str(told["phase"]), int(told["calls"])
        except (OSError, ValueError, KeyError):
            return False
        if said != seen.said:
            seen.said, seen.changed_at = said, now
        if beats == seen.beats:
            return False
        seen.beats, seen.beat_at, seen.heard = beats, now, seen.heard + 1
        return True


def _named(workers: Sequence[int]) -> str:
    return " and ".join(f"worker {worker}" for worker in workers)


def _file(directory: Path, worker: int) -> Path:
    return directory / f"worker-{worker}.json"
