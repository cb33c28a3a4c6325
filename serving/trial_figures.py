"""What is measured of a bundle on trial, and when it is enough."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

_WINDOW = 2000
# Percentiles of two thousand numbers take a tenth of a millisecond: not with every answer.
_JUDGE_EVERY = 50


@dataclass(frozen=True)
class TrialLimits:
    """When a canary is switched off. Shares and times are those of its newest 2000 answers.

    Attributes:
        min_answers: Fewer answers than this say nothing.
        max_failed: Largest share of requests that it could not answer, in [0, 1].
        max_empty: Largest share of empty answers beyond the live bundle's, in [0, 1].
        max_slower: How many times the live bundle's 95th percentile of time it may take.
        max_slower_seconds: What it may take longer than the live bundle in any case, in seconds.
    """

    min_answers: int = 100
    max_failed: float = 0.01
    max_empty: float = 0.02
    max_slower: float = 2.0
    max_slower_seconds: float = 0.005


@dataclass(frozen=True)
class Summary:
    """The figures at a glance; None where nothing was measured.

    Attributes:
        compared: Answers of both that were compared.
        overlap: Mean share of items that both answers hold, in [0, 1].
        answers: Answers of the other bundle in the window.
        failed: Share of requests that it could not answer.
        empty: Its share of empty answers.
        live_empty: The live bundle's.
        seconds_p95: 95th percentile of what it takes, in seconds.
        live_seconds_p95: The live bundle's.
    """

    compared: int
    overlap: float | None
    answers: int
    failed: float | None
    empty: float | None
    live_empty: float | None
    seconds_p95: float | None
    live_seconds_p95: float | None


class Figures:
    """The newest answers of both bundles."""

    def __init__(self) -> None:
        """Starts with none."""
        self._live: deque[tuple[float, bool]] = deque(maxlen=_WINDOW)
        self._other: deque[tuple[float, bool]] = deque(maxlen=_WINDOW)
        self._outcomes: deque[bool] = deque(maxlen=_WINDOW)
        self._overlaps: deque[float] = deque(maxlen=_WINDOW)
        self._compared = 0
        self._since = 0

    def note(self, *, canary: bool, seconds: float, empty: bool) -> None:
        """Notes an answer.

        Args:
            canary: Whether it is the other bundle's.
            seconds: What it took.
            empty: Whether it holds nothing.
        """
        if canary:
            self._other.append((seconds, empty))
            self._outcomes.append(True)
            self._since += 1
        else:
            self._live.append((seconds, empty))

    def note_failure(self) -> None:
        """Notes a request that the other bundle could not answer."""
        self._outcomes.append(False)
        # A failure is worth a look at once.
        self._since = _JUDGE_EVERY

    def note_overlap(self, overlap: float) -> None:
        """Notes the share of items that two answers have in common."""
        self._overlaps.append(overlap)
        self._compared += 1

    def passed_limit(self, limits: TrialLimits) -> str:
        """Returns in words which limit is passed; empty for none."""
        if self._since < _JUDGE_EVERY or len(self._outcomes) < limits.min_answers:
            return ""
        self._since = 0
        now = self.summary()
        if now.failed is not None and now.failed > limits.max_failed:
            return f"{now.failed:.1%} of its requests failed, at most {limits.max_failed:.1%} may"
        if now.empty is None or now.live_empty is None:
            return ""
        if now.empty > now.live_empty + limits.max_empty:
            return (
                f"{now.empty:.1%} of its answers are empty, at most "
                f"{now.live_empty + limits.max_empty:.1%} may be"
            )
        assert now.seconds_p95 is not None
        assert now.live_seconds_p95 is not None
        most = max(
            limits.max_slower * now.live_seconds_p95,
            now.live_seconds_p95 + limits.max_slower_seconds,
        )
        if now.seconds_p95 > most:
            return (
                f"its answers take {1000 * now.seconds_p95:.1f} ms (95th percentile), at most "
                f"{1000 * most:.1f} ms may"
            )
        return ""

    def summary(self) -> Summary:
        """Returns the figures at a glance."""
        empty, seconds = _both(self._other)
        live_empty, live_seconds = _both(self._live)
        outcomes = self._outcomes
        return Summary(
            compared=self._compared,
            overlap=float(np.mean(self._overlaps)) if self._overlaps else None,
            answers=len(self._other),
            failed=1 - sum(outcomes) / len(outcomes) if outcomes else None,
            empty=empty,
            live_empty=live_empty,
            seconds_p95=seconds,
            live_seconds_p95=live_seconds,
        )


def _both(answers: deque[tuple[float, bool]]) -> tuple[float | None, float | None]:
    """Returns the share of empty answers and the 95th percentile of their times, in seconds."""
    if not answers:
        return None, None
    seconds = [taken for taken, _ in answers]
    empty = sum(nothing for _, nothing in answers) / len(answers)
    return empty, float(np.percentile(seconds, 95))
