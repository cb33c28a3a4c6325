"""Measuring searchers side by side: recall, time on one thread, building, memory.

Each system is built and asked in a process of its own, so that its memory can be told apart and
none disturbs the next; all of them get the same vectors and the same queries.
"""

from __future__ import annotations

import ctypes
import gc
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts.errors import LookalikeError
from components.index.peers import PEERS, Exact, Lookalike, System
from components.search import searcher as search
from components.search.searcher import ExactSearcher, IndexParameters, Indices, Vectors

EXACT, OURS = "exact", "lookalike"
_ENOUGH_SECONDS = 1.0


@dataclass(frozen=True)
class Task:
    """What one process has to do.

    Attributes:
        system: `exact`, `lookalike`, or a name of `components.index.peers.PEERS`.
        vectors: npy of float32 `[items, dim]`, unit norm.
        queries: npy of float32 `[queries, dim]`.
        answers: npy of int64 `[queries, k]`: the exact answers.
        parameters: How to build our own searcher; None for others.
        bundle: A bundle whose searcher is loaded instead of building one.
        threads: For building; queries run on one.
        singles: Most single queries to time for a setting.
        label: What to call it; the system's name when empty.
    """

    system: str
    vectors: Path
    queries: Path
    answers: Path
    parameters: IndexParameters | None = None
    bundle: Path | None = None
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    singles: int = 500
    label: str = ""


@dataclass(frozen=True)
class Measured:
    """One setting of one system.

    Attributes:
        setting: Such as `ef 64`.
        recall: Share of the exact answers found, in [0, 1].
        cpu_ms: Mean processor time of a single query, in milliseconds.
        wall_ms: Median time of the same by the clock on the wall, in milliseconds.
        batch_cpu_ms: Processor time a query when all are asked at once on one thread.
    """

    setting: str
    recall: float
    cpu_ms: float
    wall_ms: float
    batch_cpu_ms: float


@dataclass(frozen=True)
class Report:
    """One system, measured.

    Attributes:
        system: Its name.
        build_seconds: By the clock on the wall; 0 where it was loaded instead.
        build_cpu_seconds: Processor time of the same, over all threads.
        memory_mb: What building left in memory beside the vectors' file, in units of 1e6 bytes.
        settings: What was measured, in the order tried.
    """

    system: str
    build_seconds: float
    build_cpu_seconds: float
    memory_mb: float
    settings: tuple[Measured, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return asdict(self)

    def at_recall(self, recall: float, *, batched: bool = False) -> float | None:
        """Returns the processor time of a query, in milliseconds, at a recall.

        Between two settings of the frontier the logarithm of the time is taken as linear in the
        recall, so that no system gains by where its settings happen to lie.

        Returns:
            None where no setting reaches the recall.
        """
        points = sorted(
            (one.batch_cpu_ms if batched else one.cpu_ms, one.recall) for one in self.settings
        )
        below: tuple[float, float] | None = None
        for time_, found in points:
            if found >= recall:
                if below is None or found == below[1]:
                    return time_
                share = (recall - below[1]) / (found - below[1])
                return math.exp(math.log(below[0]) * (1 - share) + math.log(time_) * share)
            if below is None or found > below[1]:
                below = time_, found
        return None


def exact_answers(vectors: Vectors, queries: Vectors, k: int) -> Indices:
    """Returns int64 `[queries, k]`: what recall is counted against."""
    return ExactSearcher(vectors).search(queries, k)[0]


def run(task: Task) -> Report:
    """Measures one system in a process of its own.

    Raises:
        LookalikeError: It failed there.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(task, sender))
    process.start()
    sender.close()
    try:
        outcome = receiver.recv()
    except EOFError:
        outcome = f"its process ended with {process.exitcode}"
    process.join()
    if isinstance(outcome, str):
        raise LookalikeError(f"benchmark: {task.system}: {outcome}")
    report: Report = outcome
    return report


def _send(task: Task, sender: Any) -> None:
    try:
        sender.send(measure(task))
    except Exception as error:
        sender.send(f"{type(error).__name__}: {error}")
    sys.exit(0)


def measure(task: Task) -> Report:
    """Measures one system in this process."""
    vectors = np.asarray(np.load(task.vectors, mmap_mode="r", allow_pickle=False))
    queries = np.load(task.queries, allow_pickle=False)
    answers = np.load(task.answers, allow_pickle=False)
    system = _system(task)
    before = anonymous_memory()
    started, started_cpu = time.perf_counter(), time.process_time()
    system.build(vectors, task.threads)
    seconds, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    memory = anonymous_memory() - before
    measured = []
    for setting in system.settings():
        system.prepare(setting)
        name = ", ".join(f"{key} {value}" for key, value in setting.items()) or "all scored"
        measured.append(_measure(system, name, queries, answers, task.singles))
    return Report(
        system=task.label or task.system,
        build_seconds=0.0 if task.bundle else seconds,
        build_cpu_seconds=0.0 if task.bundle else cpu,
        memory_mb=memory / 1e6,
        settings=tuple(measured),
    )


def _system(task: Task) -> System:
    if task.system == EXACT:
        return Exact()
    if task.system == OURS:
        built = search.load(task.bundle) if task.bundle else None
        return Lookalike(task.parameters, built)
    return PEERS[task.system][1]()


def _measure(
    system: System, name: str, queries: Vectors, answers: Indices, singles: int
) -> Measured:
    k = answers.shape[1]
    started_cpu = time.process_time()
    found = system.search(queries, k)
    batch = (time.process_time() - started_cpu) / len(queries)
    hits = [len(np.intersect1d(a, b)) for a, b in zip(found, answers, strict=True)]
    wall: list[float] = []
    started, started_cpu = time.perf_counter(), time.process_time()
    for row in range(min(singles, len(queries))):
        at = time.perf_counter()
        system.search(queries[row : row + 1], k)
        wall.append(time.perf_counter() - at)
        if at - started > _ENOUGH_SECONDS:
            break
    cpu = (time.process_time() - started_cpu) / len(wall)
    return Measured(
        setting=name,
        recall=sum(hits) / answers.size,
        cpu_ms=1e3 * cpu,
        wall_ms=1e3 * float(np.median(wall)),
        batch_cpu_ms=1e3 * batch,
    )


def anonymous_memory() -> int:
    """Returns this process's memory that no file backs, in bytes; 0 where that is not told."""
    gc.collect()
    try:
        # What was freed is given back first: building needs more than what it leaves.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        with Path("/proc/self/status").open(encoding="ascii") as status:
            lines = dict(line.split(":", 1) for line in status)
        return int(lines["RssAnon"].split()[0]) * 1024
    except (OSError, KeyError, AttributeError):
        return 0


def fastest(reports: Sequence[Report], recall: float) -> list[tuple[str, float | None]]:
    """Returns each system with its time at a recall, the fastest first, those without last."""
    times = [(report.system, report.at_recall(recall)) for report in reports]
    return sorted(times, key=lambda one: (one[1] is None, one[1] or 0.0))
