"""Confidence intervals of means over queries, by resampling queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Index numbers held at once (8 bytes each).
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        mean: Over the queries.
        lower: Lower end.
        upper: Upper end.
        count: How many queries.
    """

    mean: float
    lower: float
    upper: float
    count: int


def bootstrap_mean(
    values: npt.NDArray[np.float64], *, resamples: int, confidence: float, seed: int
) -> Estimate:
    """Returns the mean and its percentile-bootstrap interval.

    For a paired comparison, give the differences.

    Args:
        values: One a query, at least one, no NaN.
        resamples: How many times to draw as many queries with replacement.
        confidence: Of the two-sided interval, such as 0.95.
        seed: Seed of the draws.

    Source:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    means = resampled_means(values, resamples=resamples, seed=seed)
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(values.mean()), float(lower), float(upper), len(values))


def p_below(
    values: npt.NDArray[np.float64], threshold: float, *, resamples: int, seed: int
) -> float:
    """Returns the one-sided p-value against "the true mean is at least `threshold`".

    It is the share of the resampled means that reach the threshold, (1 + how many) / (1 +
    `resamples`), the percentile interval read the other way round: it falls below (1 - confidence)
    / 2 where the upper end of the two-sided interval falls below the threshold. Never 0, so it
    needs at least as many resamples as the smallest p-value that matters asks for.

    Args:
        values: One a query, at least one, no NaN.
        threshold: What the mean is held against.
        resamples: How many times to draw.
        seed: Seed of the draws.

    Source:
        Davison and Hinkley, "Bootstrap Methods and their Application", 1997, sections 4.2 and 4.4.
    """
    means = resampled_means(values, resamples=resamples, seed=seed)
    # Means of equal values differ in their last bits; they reach the value all the same.
    reached = np.sum(means >= threshold - 1e-12)
    return float((1 + reached) / (1 + resamples))


def resampled_means(
    values: npt.NDArray[np.float64], *, resamples: int, seed: int
) -> npt.NDArray[np.float64]:
    """Returns float64 `[resamples]`: means over as many queries drawn with replacement."""
    rng = np.random.default_rng(seed)
    count = len(values)
    means = np.empty(resamples)
    step = max(1, _BLOCK // count)
    for start in range(0, resamples, step):
        stop = min(resamples, start + step)
        means[start:stop] = values[rng.integers(0, count, (stop - start, count))].mean(axis=1)
    return means
