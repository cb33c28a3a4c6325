"""Evidence that may be looked at as often as one likes: a mixture of five betting e-processes.

A gambler bets against the hypothesis "the mean of x is at most m", with five fixed stakes at once.
Under the hypothesis the capital exceeds 1/alpha with probability at most alpha, however often one
looks (Ville's inequality); so a gate may stop the moment the evidence suffices. The capital does
not depend on the order of x: an auditor recomputes it from the set of scores.

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B
86(1), 2024. Everything is a natural logarithm: products of thousands of factors overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from components.contracts.errors import InputError

Floats = npt.NDArray[np.float64]

STAKES = (0.10, 0.20, 0.35, 0.55, 0.80)
# Without it a mirrored factor turns negative for m < .44, and every better candidate would fail.
MOST_MIRRORED_STAKE = 0.95
_BISECTIONS = 60


def checked_scores(scores: Sequence[float] | Floats) -> Floats:
    """Returns the scores as float64 of shape [n].

    Raises:
        InputError: A score is NaN or outside [0, 1].
    """
    x = np.asarray(scores, dtype=np.float64).reshape(-1)
    bad = ~((x >= 0.0) & (x <= 1.0))
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            f"score {first}: expected a number in [0, 1], received {x[first]}; "
            "an unjudged pair must not be counted"
        )
    return x


def _checked_mean(mean: float) -> float:
    if not 0.0 < mean < 1.0:
        raise InputError(f"hypothesised mean: expected a number in (0, 1), received {mean}")
    return mean


def _log_mixture(growth: Floats, stakes: Sequence[float]) -> float:
    """Returns log of the mean over c of prod(1 + c g)."""
    logs = np.log1p(np.multiply.outer(np.asarray(stakes), growth)).sum(axis=1)
    peak = float(logs.max())
    return peak + math.log(float(np.exp(logs - peak).mean()))


def log_e(scores: Sequence[float] | Floats, mean: float) -> float:
    """Returns log E_n(m), E_n(m) = mean over c of prod_i (1 + c (x_i / m - 1)).

    Args:
        scores: x, numbers in [0, 1]; 0 is returned for none.
        mean: m in (0, 1), the hypothesis "the mean of x is at most m".

    Raises:
        InputError: A score is NaN or out of range, or m is not in (0, 1).
    """
    x = checked_scores(scores)
    return _log_mixture(x / _checked_mean(mean) - 1.0, STAKES)


def mirrored_stakes(mean: float) -> tuple[float, ...]:
    """Returns the stakes against "the mean is at least m": min(c (1 - m) / m, .95)."""
    m = _checked_mean(mean)
    return tuple(min(stake * (1.0 - m) / m, MOST_MIRRORED_STAKE) for stake in STAKES)


def log_e_mirrored(
    scores: Sequence[float] | Floats, mean: float, *, stakes_at: float | None = None
) -> float:
    """Returns log E of the mirror image, the evidence that the mean lies *below* m.

    x becomes 1 - x, m becomes 1 - m, c becomes min(c (1 - m) / m, .95).

    Args:
        scores: x, numbers in [0, 1].
        mean: m in (0, 1).
        stakes_at: Fixes the stakes at those of another mean, for an upper bound; m when None.
    """
    x = checked_scores(scores)
    stakes = mirrored_stakes(mean if stakes_at is None else stakes_at)
    return _log_mixture((1.0 - x) / (1.0 - _checked_mean(mean)) - 1.0, stakes)


def _root(function: Callable[[float], float], target: float, *, rising: bool) -> float:
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        if not 0.0 < middle < 1.0:
            break
        if (function(middle) < target) == rising:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def lower_bound(scores: Sequence[float] | Floats, *, alpha: float) -> float:
    """Returns the lower confidence bound of the mean, valid at every n at once.

    It is the root in m of E_n(m) = 1 / alpha; 0 when there is no evidence at all.
    """
    x = checked_scores(scores)
    if not (x > 0.0).any():
        return 0.0
    return _root(lambda m: log_e(x, m), math.log(1.0 / alpha), rising=False)


def upper_bound(scores: Sequence[float] | Floats, *, alpha: float, stakes_at: float) -> float:
    """Returns the upper confidence bound of the mean, valid at every n at once.

    Args:
        scores: x, numbers in [0, 1].
        alpha: One-sided error.
        stakes_at: The threshold under test: the mirrored stakes stay those at it while m moves.
    """
    x = checked_scores(scores)
    if not (x < 1.0).any():
        return 1.0
    return _root(
        lambda m: log_e_mirrored(x, m, stakes_at=stakes_at), math.log(1.0 / alpha), rising=True
    )


def log_e_path(scores: Sequence[float] | Floats, mean: float, *, mirrored: bool = False) -> Floats:
    """Returns log E after each of the n scores, float64 of shape [n]; for pictures and looks."""
    x = checked_scores(scores)
    m = _checked_mean(mean)
    stakes = np.asarray(mirrored_stakes(m) if mirrored else STAKES)
    growth = (1.0 - x) / (1.0 - m) - 1.0 if mirrored else x / m - 1.0
    logs = np.log1p(np.multiply.outer(stakes, growth)).cumsum(axis=1)
    return np.asarray(np.logaddexp.reduce(logs, axis=0) - math.log(len(stakes)))
