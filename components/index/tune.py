"""Choosing how the index is built and searched: the fastest that is proved to find what is there.

Recall rises with the partitions scanned and the vectors scored again, and so does the time: for
one built index the settings that just reach the target form a staircase, which is walked instead
of measuring every setting. Between built indexes the search goes from the likeliest parameters in
the direction that helps, one parameter after the other, until nothing helps or the time is spent.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from components.contracts.catalog import Item
from components.contracts.progress import Progress
from components.index import space
from components.index.config import AUTO, IndexConfig
from components.index.measure import Point, Questions
from components.index.queries import tuning_sample
from components.search import searcher as search
from components.search.retrieval import BundleIndex
from components.search.scann_backend import missing as scann_missing
from components.search.searcher import ExactSearcher, IndexParameters, Searcher, Vectors

# Settings that may be tried on the queries kept back until one proves itself. Each is tried at a
# confidence that leaves 95% for all of them together (Bonferroni).
TRIES = 3
CONFIDENCE = 1.0 - 0.05 / TRIES
# A difference in time that may be chance; and the share of memory that is worth giving it away.
_LEVEL_TIME, _WORTH_MEMORY = 0.05, 0.8
# Settings of one index that are timed again, in turn, before one is chosen.
_RACING = 4
# A setting so much slower than the best one so far is not followed further, nor are more
# partitions when they found so little more.
_TOO_SLOW, _NOTHING_MORE = 1.3, 5e-4


@dataclass(frozen=True)
class Tuned:
    """The searcher chosen.

    Attributes:
        searcher: Ready to save.
        points: Everything measured while choosing.
        chosen: Position of the chosen setting in `points`.
        held_out: The chosen setting measured on queries that played no part in finding it; its
            lower bound is the recall that the index promises.
        queries: How many queries `held_out` was measured on.
        builds: How many indexes were built.
        seconds: How long it all took.
        stopped: Why the search ended early, in words; empty when it did not.
    """

    searcher: Searcher
    points: tuple[Point, ...]
    chosen: int
    held_out: Point
    queries: int
    builds: int
    seconds: float
    stopped: str


@dataclass(frozen=True)
class _Built:
    """An index with the best of its settings."""

    searcher: Searcher
    point: Point


def tune(items: Sequence[Item], vectors: Vectors, queries: Vectors, config: IndexConfig) -> Tuned:
    """Builds the index and chooses its settings, on answers as they are served.

    Args:
        items: One a vector.
        vectors: float32 `[items, dim]`, unit norm.
        queries: float32 `[queries, dim]`, unit norm: real query vectors, possibly none.
        config: Target, sizes and time.

    Returns:
        The fastest setting whose lower recall bound reaches the target, for photos and for catalog
        items, on the queries that it was found with and on those that were kept back. Where none
        does, exact search when the backend is free to choose, else the setting with the best
        bound.
    """
    exact = BundleIndex(items, vectors, ExactSearcher(vectors))
    sample = tuning_sample(items, vectors, queries, count=config.tuning_queries, seed=config.seed)
    half = len(sample) // 2
    k, timed = config.recall_at, config.latency_queries
    tuner = _Tuner(
        vectors, Questions(exact, sample[:half], k=k, timed=timed), config, time.monotonic()
    )
    tuner.search()
    kept_back = Questions(exact, sample[half:], k=k, timed=timed)
    searcher, chosen, held_out = tuner.confirm(kept_back)
    return Tuned(
        searcher=searcher,
        points=tuple(tuner.points),
        chosen=chosen,
        held_out=held_out,
        queries=len(kept_back),
        builds=tuner.builds,
        seconds=time.monotonic() - tuner.started,
        stopped=tuner.stopped,
    )


class _Tuner:
    """The search, with what it has seen so far."""

    def __init__(
        self, vectors: Vectors, questions: Questions, config: IndexConfig, started: float
    ) -> None:
        self.points: list[Point] = []
        self.builds = 0
        self.stopped = ""
        self.started = started
        self._vectors = vectors
        self._questions = questions
        self._config = config
        self._best: _Built | None = None
        self._longest = 0.0
        self._seen: set[IndexParameters] = set()

    # -- between indexes ------------------------------------------------------------------

    def search(self) -> None:
        """Looks for the best index; `points` holds all that was measured."""
        items, dim = self._vectors.shape
        starts = space.starts(items, dim, self._config)
        if starts and self._config.backend == AUTO and (why := scann_missing()):
            # No wheel for this platform: what is left is slower, and right.
            starts, self.stopped = [], why
        with Progress("tune", unit="indexes built") as self._progress:
            if self._config.backend in (AUTO, "brute_force"):
                self._offer(self._exact())
            for start in starts:
                self._try(start)
            if starts and self._best and self._best.point.parameters.backend != "brute_force":
                self._climb()
                self._refine()

    def _exact(self) -> _Built:
        searcher = ExactSearcher(self._vectors)
        point = self._questions.measure(searcher)
        self.points.append(point)
        return _Built(searcher, point)

    def _climb(self) -> None:
        """Varies one parameter of the best index after the other."""
        assert self._best is not None
        for name, ways in space.moves(self._best.point.parameters):
            for way in ways:
                tried = improved = self._vary(name, way)
                while name == "leaves" and improved:
                    improved = self._vary(name, way)
                if tried and name == "leaves":
                    break  # What helped one way does not help the other.

    def _vary(self, name: str, way: Any) -> bool:
        """Tries the best index with one parameter changed; returns whether that is better."""
        assert self._best is not None
        now = self._best.point.parameters
        if name == "leaves":
            changed = space.with_leaves(now, way, len(self._vectors))
        else:
            changed = replace(now, **{name: way})
        return changed is not None and self._try(changed)

    def _try(self, parameters: IndexParameters) -> bool:
        """Builds an index and finds its best setting; returns whether it is the best so far."""
        key = space.as_built(parameters)
        if key in self._seen or self.stopped:
            return False
        spent = time.monotonic() - self.started
        if self.builds and spent + self._longest > self._config.tuning_seconds:
            self.stopped = (
                f"the {self._config.tuning_seconds:g} s of index.tuning_seconds are nearly spent "
                f"({spent:.0f} s; an index takes up to {self._longest:.0f} s)"
            )
            return False
        self._seen.add(key)
        started = time.monotonic()
        searcher = search.build(self._vectors, parameters)
        built_in = time.monotonic() - started
        self.builds += 1
        better = self._offer(self._settle(searcher, built_in))
        self._longest = max(self._longest, time.monotonic() - started)
        self._progress.advance()
        return better

    def _offer(self, built: _Built) -> bool:
        if self._best is not None:
            if self._reaches(built.point) and self._reaches(self._best.point):
                built, self._best = self._raced([built, self._best])
            if not self._better(built.point, self._best.point):
                return False
        self._best = built
        return True

    def _raced(self, built: Sequence[_Built]) -> list[_Built]:
        """Returns the same with times that were taken in turn; `points` gets them too."""
        times = self._questions.race([one.searcher for one in built])
        raced = []
        for one, cpu_ms in zip(built, times, strict=True):
            point = replace(one.point, cpu_ms=cpu_ms)
            self.points[self.points.index(one.point)] = point
            raced.append(_Built(one.searcher, point))
        return raced

    def _better(self, one: Point, other: Point) -> bool:
        if not self._reaches(one) or not self._reaches(other):
            return self._rank(one) > self._rank(other)
        if one.cpu_ms < (1 - _LEVEL_TIME) * other.cpu_ms:
            return True
        level = one.cpu_ms <= (1 + _LEVEL_TIME) * other.cpu_ms
        return level and one.memory_mb <= _WORTH_MEMORY * other.memory_mb

    def _rank(self, point: Point) -> tuple[bool, bool, float]:
        return self._reaches(point), self._fits(point), point.recall_lower

    def _reaches(self, point: Point) -> bool:
        return point.recall_lower >= self._config.recall_target and self._fits(point)

    def _fits(self, point: Point) -> bool:
        limit = self._config.memory_limit_mb
        return not limit or point.memory_mb <= limit

    # -- within one index -----------------------------------------------------------------

    def _settle(self, searcher: Searcher, built_in: float) -> _Built:
        """Walks the staircase of settings that just reach the target; returns the fastest."""
        parameters = searcher.parameters
        leaves = space.leaf_counts(parameters)
        widths = space.reorder_widths(len(self._vectors), self._config.recall_at)
        measured: dict[tuple[int, int], _Built] = {}

        def reaches(leaf: int, width: int) -> bool:
            if (leaf, width) not in measured:
                measured[leaf, width] = self._measure(
                    searcher, leaves[leaf], widths[width], built_in
                )
            return measured[leaf, width].point.recall_lower >= self._config.recall_target

        def hopeless(leaf: int, width: int) -> bool:
            """Whether scanning more partitions than this will not make up for the width."""
            here, fewer = measured[leaf, width].point, measured.get((leaf - 1, width))
            best = self._best_of(measured.values()).point
            return here.cpu_ms > _TOO_SLOW * best.cpu_ms or (
                fewer is not None and here.recall < fewer.point.recall + _NOTHING_MORE
            )

        width = len(widths) - 1
        # The fewest partitions with which the widest reordering does it; then ever narrower ones.
        leaf = bisect_left(range(len(leaves)), True, key=lambda one: reaches(one, width))
        nothing_yet = self._best is None or not self._reaches(self._best.point)
        last = space.exhaustive(parameters, len(self._vectors))
        if leaf == len(leaves) and nothing_yet and last and last.reorder > widths[-1]:
            whole = self._measure(searcher, last.leaves_to_search, last.reorder, built_in)
            measured[leaf, width] = whole
        while width > 0 and leaf < len(leaves):
            width -= 1
            while leaf < len(leaves) and not reaches(leaf, width):
                leaf = len(leaves) if hopeless(leaf, width) else leaf + 1
        good = [one for one in measured.values() if self._reaches(one.point)]
        if len(good) < 2:
            return self._best_of(measured.values())
        # One timing each may err by more than the settings differ by.
        racing = sorted(good, key=lambda one: one.point.cpu_ms)[:_RACING]
        return min(self._raced(racing), key=lambda one: one.point.cpu_ms)

    def _best_of(self, built: Iterable[_Built]) -> _Built:
        best: _Built | None = None
        for one in built:
            if best is None or self._better(one.point, best.point):
                best = one
        assert best is not None
        return best

    def _refine(self) -> None:
        """Looks between the settings of the best index that were measured."""
        assert self._best is not None
        items, now = len(self._vectors), self._best.point.parameters
        leaves = space.leaf_counts(now)
        widths = space.reorder_widths(items, self._config.recall_at)
        for _ in range(2):
            now = self._best.point.parameters
            fewer = max(
                [n for n in leaves if n < now.leaves_to_search], default=now.leaves_to_search
            )
            narrower = max([n for n in widths if n < now.reorder], default=now.reorder)
            for leaf, width in (
                ((fewer + now.leaves_to_search) // 2, now.reorder),
                (now.leaves_to_search, (narrower + now.reorder) // 2),
            ):
                if (leaf, width) != (now.leaves_to_search, now.reorder):
                    one = self._measure(
                        self._best.searcher, leaf, width, self._best.point.build_seconds
                    )
                    leaves, widths = sorted({*leaves, leaf}), sorted({*widths, width})
                    self._offer(one)

    def _measure(self, searcher: Searcher, leaf: int, width: int, built_in: float) -> _Built:
        from components.search.scann_backend import ScannSearcher  # noqa: PLC0415

        assert isinstance(searcher, ScannSearcher)
        tuned = searcher.tuned(reorder=width, leaves_to_search=leaf)
        point = self._questions.measure(tuned, build_seconds=built_in, confidence=CONFIDENCE)
        self.points.append(point)
        return _Built(tuned, point)

    # -- proof ----------------------------------------------------------------------------

    def confirm(self, kept_back: Questions) -> tuple[Searcher, int, Point]:
        """Measures the best setting on queries kept back, and the next ones where it fails.

        Returns:
            The searcher, the position of its setting in `points`, and what was measured.
        """
        assert self._best is not None
        ladder = self._ladder(self._best)
        tried: list[tuple[Searcher, int, Point]] = []
        for built in ladder:
            point = kept_back.measure(
                built.searcher, build_seconds=built.point.build_seconds, confidence=CONFIDENCE
            )
            tried.append((built.searcher, self.points.index(built.point), point))
            if self._reaches(point):
                return tried[-1]
        if self._config.backend == AUTO and self._fits(self.points[0]):
            exact = ExactSearcher(self._vectors)
            return exact, 0, kept_back.measure(exact)
        return max(tried, key=lambda one: one[2].recall_lower)

    def _ladder(self, best: _Built) -> list[_Built]:
        """Returns the best setting and slower ones of the same index that found more."""
        from components.search.scann_backend import ScannSearcher  # noqa: PLC0415

        steps = [best]
        if not isinstance(best.searcher, ScannSearcher):
            return steps
        built = space.as_built(best.point.parameters)
        same = [point for point in self.points if space.as_built(point.parameters) == built]
        for point in sorted(same, key=lambda point: point.cpu_ms):
            if len(steps) < TRIES and point.recall_lower > steps[-1].point.recall_lower:
                searcher = best.searcher.tuned(
                    reorder=point.parameters.reorder,
                    leaves_to_search=point.parameters.leaves_to_search,
                )
                steps.append(_Built(searcher, point))
        return steps
