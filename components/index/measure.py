"""One setting of the index, measured on queries: recall with a bound, time, memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.index.bounds import mean_lower_bound
from components.index.queries import Sample
from components.search.retrieval import BundleIndex, Hits, recall_of
from components.search.searcher import IndexParameters, Searcher, memory_bytes

# Timing a setting that takes long for a query stops early: it will not be chosen.
_FEWEST_TIMED, _MOST_TIMED_MS = 20, 1000.0
# Times that settings are timed anew when one of them has to be chosen.
_ROUNDS = 4


@dataclass(frozen=True)
class Point:
    """One setting of the index, measured.

    Attributes:
        parameters: How the index was built and how it searches.
        recall: Mean recall, one image a product, in [0, 1]: of photos or of catalog items, of the
            kind of query that fares worse.
        recall_lower: Lower confidence bound that holds for each kind (`components.index.bounds`);
            exact search has no doubt about its own.
        cpu_ms: Median processor time of a single query, in milliseconds: settings are compared by
            it, since other programs on the machine disturb it least.
        p50_ms: Median time of a single query as a clock on the wall shows it, in milliseconds.
        p95_ms: 95th percentile of the same.
        memory_mb: What the searcher keeps in memory, in units of 1e6 bytes.
        build_seconds: How long the index behind it took to build.
    """

    parameters: IndexParameters
    recall: float
    recall_lower: float
    cpu_ms: float
    p50_ms: float
    p95_ms: float
    memory_mb: float
    build_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return asdict(self)


class Questions:
    """Queries with their exact answers, to measure any searcher over the same items on."""

    def __init__(self, exact: BundleIndex, queries: Sample, *, k: int, timed: int) -> None:
        """Answers the queries exactly.

        Args:
            exact: The items, searched exactly.
            queries: What to ask.
            k: Neighbours that recall is counted over.
            timed: How many queries to time for a point; 0 to time none.
        """
        self._exact = exact
        self._queries = queries
        self._k = k
        self._timed = timed
        self._best: Sequence[Hits] | None = None

    def __len__(self) -> int:
        """How many queries there are."""
        return len(self._queries)

    def measure(
        self, searcher: Searcher, *, build_seconds: float = 0.0, confidence: float = 0.95
    ) -> Point:
        """Measures a searcher on answers as they are served.

        Args:
            searcher: Over the vectors of the same items.
            build_seconds: How long it took to build; kept in the point.
            confidence: Of the one-sided lower bound.
        """
        index = self._exact.searched_by(searcher)
        parameters = searcher.parameters
        if parameters.backend == "brute_force":
            recall = lower = 1.0
        else:
            if self._best is None:
                self._best = self._answer(self._exact)
            recalls = recall_of(index, self._queries.vectors, self._answer(index), self._best)
            recall, lower = self._worse_kind(recalls, confidence)
        cpu, wall = self._time(index)
        return Point(
            parameters=parameters,
            recall=recall,
            recall_lower=lower,
            cpu_ms=float(np.median(cpu)) if cpu else 0.0,
            p50_ms=float(np.percentile(wall, 50)) if wall else 0.0,
            p95_ms=float(np.percentile(wall, 95)) if wall else 0.0,
            memory_mb=memory_bytes(parameters, *searcher.shape) / 1e6,
            build_seconds=build_seconds,
        )

    def race(self, searchers: Sequence[Searcher]) -> list[float]:
        """Times searchers in turn, so that a busy moment of the machine falls on all of them.

        Returns:
            The processor time of a single query of each, in milliseconds: the least of the
            rounds' medians.
        """
        indexes = [self._exact.searched_by(searcher) for searcher in searchers]
        rounds = [
            [float(np.median(self._time(index)[0] or [0.0])) for index in indexes]
            for _ in range(_ROUNDS)
        ]
        return [float(least) for least in np.min(rounds, axis=0)]

    def _answer(self, index: BundleIndex, rows: slice = slice(None)) -> list[Hits]:
        asked = self._queries[rows]
        return index.answer(
            asked.vectors,
            self._k,
            exclude_products=[{product} if product else () for product in asked.left_out],
        )

    def _worse_kind(
        self, recalls: npt.NDArray[np.float64], confidence: float
    ) -> tuple[float, float]:
        """Returns mean and lower bound, each of the kind of query where it is least.

        Which share of each kind is asked nobody knows; a target that either kind reaches by itself
        is reached by any mixture. All of them must pass, so none needs more confidence for it.
        """
        kinds = [recalls[rows] for rows in self._queries.kinds]
        known = [found for one in kinds if len(found := one[~np.isnan(one)])]
        if not known:
            return 0.0, 0.0
        return (
            min(float(one.mean()) for one in known),
            min(mean_lower_bound(one, confidence=confidence) for one in known),
        )

    def _time(self, index: BundleIndex) -> tuple[list[float], list[float]]:
        """Returns processor and wall times of single queries, in milliseconds."""
        cpu: list[float] = []
        wall: list[float] = []
        for number in range(self._timed):
            row = number % len(self._queries)
            started, started_cpu = time.perf_counter(), time.process_time()
            self._answer(index, slice(row, row + 1))
            cpu.append(1e3 * (time.process_time() - started_cpu))
            wall.append(1e3 * (time.perf_counter() - started))
            if number >= _FEWEST_TIMED and sum(wall) > _MOST_TIMED_MS:
                break
        return cpu, wall
