import itertools

import numpy as np
import pytest

from components.evaluate.multiple import holm


def test_by_hand():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04; never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def by_closed_testing(p_values):
    """Holm's procedure is the closed test over Bonferroni: the worst of all families around one."""
    numbers = range(len(p_values))
    families = [
        family
        for size in range(1, len(p_values) + 1)
        for family in itertools.combinations(numbers, size)
    ]
    bonferroni = {
        family: min(1.0, len(family) * min(p_values[n] for n in family)) for family in families
    }
    return [max(p for family, p in bonferroni.items() if n in family) for n in numbers]


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_closed_testing(seed):
    rng = np.random.default_rng(seed)
    p_values = (rng.random(int(rng.integers(1, 8))) ** 3).tolist()
    assert holm(p_values) == pytest.approx(by_closed_testing(p_values))
