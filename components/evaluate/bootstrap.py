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
    rng = np.random.default_rng(seed)
    count = len(values)
    means = np.empty(resamples)
    step = max(1, _BLOCK // count)
    for start in range(0, resamples, step):
        stop = min(resamples, start + step)
        means[start:stop] = values[rng.integers(0, count, (stop - start, count))].mean(axis=1)
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(values.mean()), float(lower), float(upper), count)
