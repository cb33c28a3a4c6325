"""Krippendorff's alpha: how far raters agree beyond chance.

Shown and warned about, never a reason to refuse: where nearly everything is similar it is low with
good raters (.31 at 95% similar).

Source: Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(
    units: npt.NDArray[np.integer],
    grades: npt.NDArray[np.integer],
    *,
    level: Level,
    categories: int,
) -> float | None:
    """Returns alpha = 1 - D_observed / D_expected.

    Args:
        units: int of shape [n]: which unit (pair of images) each rating is of.
        grades: int of shape [n] in [0, categories): the grade given. Missing ratings are absent.
        level: The distance between grades: equal or not; by ranks; by squared difference.
        categories: How many grades there are.

    Returns:
        At most 1; None when no unit has two ratings, or all ratings are the same (0 / 0).
    """
    if len(units) == 0:
        return None
    index: npt.NDArray[np.int64]
    _, index = np.unique(units, return_inverse=True)
    counts = np.zeros((int(index.max()) + 1, categories))
    np.add.at(counts, (index, grades), 1.0)
    size = counts.sum(axis=1)
    counts, size = counts[size >= 2], size[size >= 2]
    if len(counts) == 0:
        return None
    # Coincidences: ordered pairs of ratings within a unit, each unit weighing as many as it has.
    coincidence = (counts / (size - 1)[:, None]).T @ counts
    coincidence -= np.diag((counts / (size - 1)[:, None]).sum(axis=0))
    marginal = coincidence.sum(axis=1)
    distance = _distance(marginal, level)
    total = marginal.sum()
    expected = float((np.outer(marginal, marginal) * distance).sum() / (total - 1.0))
    if expected <= 0.0:
        return None
    return 1.0 - float((coincidence * distance).sum()) / expected


def _distance(marginal: npt.NDArray[np.float64], level: Level) -> npt.NDArray[np.float64]:
    rank: npt.NDArray[np.float64] = np.arange(len(marginal), dtype=np.float64)
    if level == "ordinal":
        # Sum of the marginals between two grades, both ends counted half.
        rank = np.cumsum(marginal) - marginal / 2.0
    squared: npt.NDArray[np.float64] = np.square(np.subtract.outer(rank, rank))
    return np.minimum(squared, 1.0) if level == "nominal" else squared
