"""Many tests at once: p-values corrected for how many there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns Holm's adjusted p-values, in the order given.

    With m tests and p_(1) <= ... <= p_(m), the adjusted p_(i) is the largest of
    min(1, (m - j + 1) p_(j)) over j = 1..i. Rejecting where it is at most alpha keeps the
    probability of any false rejection at alpha or below, however the tests depend on each other.

    Args:
        p_values: Each in [0, 1].

    Source:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
        Statistics 6, 1979.
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    return [float(value) for value in adjusted]
