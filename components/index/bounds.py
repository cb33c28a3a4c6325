"""How sure a mean recall is."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

# Recall is expected near 1 with little spread; a wrong guess costs width, never validity.
_MEAN_AT_FIRST, _VARIANCE_AT_FIRST = 1.0, 0.01
# Staking everything could lose everything in one step.
_MOST_STAKED = 0.9
_BISECTIONS = 40


def mean_lower_bound(values: npt.NDArray[np.float64], *, confidence: float = 0.95) -> float:
    """Returns a lower confidence bound of the mean of independent values in [0, 1].

    A gambler bets on values above m, with stakes that depend on earlier values only. If m were the
    mean or less than it, the capital would exceed 1/(1 - confidence) with probability at most
    1 - confidence: the bound is the largest m at which it does not get there by the last value.
    It holds for any number of values and any distribution in [0, 1], and adapts to the spread:
    for recalls near 1 it is about half as far away as Wilson's, which allows for the variance of
    a coin.

    Args:
        values: float64 `[queries]` in [0, 1], in random order; NaN (nothing to find) is left out.
        confidence: In (0, 1).

    Returns:
        The bound in [0, 1]; 0 without values.

    Source:
        Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
        JRSS B 2024, arXiv:2010.09686, with the predictable plug-in stakes of their section 4.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return 0.0
    stakes = _stakes(values, confidence)
    needed = math.log(1.0 / (1.0 - confidence))

    def rejected(mean: float) -> bool:
        capital = np.cumsum(np.log1p(stakes * (values - mean)))
        return bool(capital.max() >= needed)

    low, high = 0.0, 1.0
    if not rejected(low):
        return 0.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low


def _stakes(values: npt.NDArray[np.float64], confidence: float) -> npt.NDArray[np.float64]:
    """Returns float64 `[queries]`: what is staked on each value, from those before it alone."""
    count = np.arange(1, len(values) + 1)
    means = (_MEAN_AT_FIRST + np.cumsum(values)) / (count + 1)
    variances = (_VARIANCE_AT_FIRST + np.cumsum((values - means) ** 2)) / (count + 1)
    before = np.concatenate([[_VARIANCE_AT_FIRST], variances[:-1]])
    wanted = np.sqrt(2 * math.log(1.0 / (1.0 - confidence)) / (len(values) * before))
    return np.asarray(np.minimum(wanted, _MOST_STAKED))
