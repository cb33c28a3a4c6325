"""Krippendorff's alpha against his own worked example and against hand calculation."""

from __future__ import annotations

import numpy as np
import pytest

from components.human_eval.agreement import krippendorff_alpha

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): 4 observers, 12 units.
EXAMPLE = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""


def example():
    rows = [
        (unit, int(value) - 1)
        for line in EXAMPLE.strip().splitlines()
        for unit, value in enumerate(line.split())
        if value != "."
    ]
    return np.array([u for u, _ in rows]), np.array([g for _, g in rows])


@pytest.mark.parametrize(
    ("level", "expected"), [("nominal", 0.7434), ("ordinal", 0.8154), ("interval", 0.8491)]
)
def test_the_published_example(level, expected):
    units, grades = example()
    found = krippendorff_alpha(units, grades, level=level, categories=5)
    assert found == pytest.approx(expected, abs=5e-5)


def test_the_order_of_the_ratings_does_not_matter():
    units, grades = example()
    turned = np.random.default_rng(1).permutation(len(units))
    assert krippendorff_alpha(
        units[turned], grades[turned], level="ordinal", categories=5
    ) == pytest.approx(krippendorff_alpha(units, grades, level="ordinal", categories=5))


def test_perfect_agreement_is_one_and_opposition_by_hand():
    units = np.array([0, 0, 1, 1])
    assert krippendorff_alpha(units, np.array([0, 0, 3, 3]), level="nominal", categories=4) == 1.0
    # Coincidences 01 and 10 twice each: D_o = 4 of 4; D_e = (2*2 + 2*2)/3 = 8/3: 1 - 4/(8/3).
    found = krippendorff_alpha(units, np.array([0, 1, 1, 0]), level="nominal", categories=4)
    assert found == pytest.approx(-0.5)


@pytest.mark.parametrize(("units", "grades"), [([], []), ([0, 1], [1, 2]), ([0, 0], [2, 2])])
def test_it_is_undefined_without_pairs_or_variation(units, grades):
    found = krippendorff_alpha(
        np.array(units, dtype=int), np.array(grades, dtype=int), level="ordinal", categories=4
    )
    assert found is None
