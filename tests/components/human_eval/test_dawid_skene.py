"""Dawid-Skene against the authors' own data and against rules that hold for any data."""

from __future__ import annotations

import numpy as np
import pytest

from components.human_eval.dawid_skene import NO_SMOOTHING, UNKNOWN, fit

# Dawid and Skene (1979), table 1: observer 1 saw each of 45 patients three times, 2 to 5 once.
PATIENTS = """
111 1 1 1 1|333 4 3 3 4|112 2 1 2 2|222 3 1 2 1|222 3 2 2 2|222 3 3 2 2|122 2 1 1 1|333 3 4 3 3
222 2 2 2 3|232 2 2 2 3|444 4 4 4 4|222 3 3 4 3|111 1 1 1 1|222 3 2 1 2|121 1 1 1 1|111 2 1 1 1
111 1 1 1 1|111 1 1 1 1|222 2 2 2 1|222 1 3 2 2|222 2 2 2 2|222 2 2 2 1|222 3 2 2 2|221 2 2 2 2
111 1 1 1 1|111 1 1 1 1|232 2 2 2 2|111 1 1 1 1|111 1 1 1 1|112 1 1 2 1|111 1 1 1 1|333 3 2 3 3
111 1 1 1 1|222 2 2 2 2|222 3 2 3 2|433 4 3 4 3|221 2 2 3 2|232 3 2 3 3|333 3 4 3 2|111 1 1 1 1
111 1 1 1 1|121 2 1 1 1|232 2 2 2 2|121 1 1 1 1|222 2 2 2 2
"""


def patients():
    rows = []
    for patient, entry in enumerate(PATIENTS.replace("\n", "|").strip("|").split("|")):
        for observer, readings in enumerate(entry.split()):
            rows.extend((patient, observer, int(reading) - 1) for reading in readings)
    return np.array(rows).T


def fitted(tasks, raters, grades, *, n, groups=None, clamped=None, **options):
    return fit(
        tasks,
        raters,
        grades,
        groups=np.zeros(n, dtype=np.int64) if groups is None else groups,
        clamped=np.full(n, UNKNOWN) if clamped is None else clamped,
        **options,
    )


def test_the_priors_of_1979():
    tasks, raters, grades = patients()
    assert len(set(tasks.tolist())) == 45
    found = fitted(tasks, raters, grades, n=45, smoothing=NO_SMOOTHING)
    assert found.prior[0] == pytest.approx([0.400, 0.422, 0.112, 0.067], abs=5e-4)
    assert found.posterior.sum(axis=1) == pytest.approx(np.ones(45))
    assert found.confusion.sum(axis=2) == pytest.approx(np.ones((5, 4)))


def test_the_order_of_the_ratings_does_not_matter_to_the_last_bit():
    tasks, raters, grades = patients()
    turned = np.random.default_rng(2).permutation(len(tasks))
    one = fitted(tasks, raters, grades, n=45)
    other = fitted(tasks[turned], raters[turned], grades[turned], n=45)
    assert np.array_equal(one.posterior, other.posterior)


def test_one_rating_by_hand():
    """After one round from a vote, prior (2.5, .5, .5, .5)/... meets one smoothed rater."""
    found = fitted(np.array([0]), np.array([0]), np.array([2]), n=1, most_iterations=1)
    prior = np.array([0.5, 0.5, 1.5, 0.5]) / 3.0
    # Row 2 holds the one rating on the diagonal: (.5, .5, 2 + 1, .5) / 4.5; others (.5 .. 2) / 3.5.
    likelihood = np.array([0.5 / 3.5, 0.5 / 3.5, 3.0 / 4.5, 0.5 / 3.5])
    expected = prior * likelihood / (prior * likelihood).sum()
    assert found.posterior[0] == pytest.approx(expected)


def test_golds_are_clamped_and_do_not_shape_the_prior():
    tasks = np.array([0, 0, 1, 1, 2, 2])
    raters = np.array([0, 1] * 3)
    grades = np.array([0, 0, 0, 0, 3, 3])
    found = fitted(tasks, raters, grades, n=3, clamped=np.array([3, UNKNOWN, UNKNOWN]))
    assert found.posterior[0].tolist() == [0.0, 0.0, 0.0, 1.0]
    # Both raters called the gold 0: what they call 0 is a 3 more often than without the gold.
    free = fitted(tasks, raters, grades, n=3)
    assert found.posterior[1, 3] > free.posterior[1, 3]
    # Two live tasks, one a 0 and one a 3: the gold does not tip the prior towards 3.
    alone = fitted(tasks[2:] - 1, raters[2:], grades[2:], n=2)
    assert alone.prior[0, 0] == pytest.approx(alone.prior[0, 3])


def test_a_task_without_ratings_has_the_prior_of_its_group():
    found = fitted(
        np.array([0, 0]), np.array([0, 1]), np.array([3, 3]), n=2,
        groups=np.array([1, 1]),
    )  # fmt: skip
    assert found.posterior[1] == pytest.approx(found.prior[1])


def test_a_careless_rater_is_believed_less():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 4, 400)
    given = np.stack([truth, truth, truth, rng.integers(0, 4, 400)])
    tasks = np.tile(np.arange(400), 4)
    raters = np.repeat(np.arange(4), 400)
    found = fitted(tasks, raters, given.reshape(-1), n=400)
    assert np.diagonal(found.confusion[0]).min() > 0.9
    assert np.diagonal(found.confusion[3]).max() < 0.4
    assert (found.posterior.argmax(axis=1) == truth).mean() > 0.99


def noisy(truth, rng, raters=8, each=3):
    """Ratings of `each` random raters with errors between neighbouring grades."""
    matrix = np.array(
        [[0.75, 0.15, 0.08, 0.02], [0.15, 0.6, 0.2, 0.05], [0.05, 0.2, 0.6, 0.15],
         [0.02, 0.08, 0.2, 0.7]]
    )  # fmt: skip
    tasks = np.repeat(np.arange(len(truth)), each)
    who = np.argsort(rng.random((len(truth), raters)), axis=1)[:, :each].reshape(-1)
    luck = rng.random(len(tasks))
    grades = (luck[:, None] > np.cumsum(matrix[truth[tasks]], axis=1)[:, :-1]).sum(axis=1)
    return tasks, who, grades


def test_own_prior_keeps_a_regression_that_a_pooled_prior_hides():
    """The index drops from .90 to .60: two sides, rated together."""
    rng = np.random.default_rng(4)
    n = 2000
    shares = {0: (0.02, 0.08, 0.5, 0.4), 1: (0.2, 0.2, 0.4, 0.2)}
    truth = np.concatenate([rng.choice(4, n, p=shares[0]), rng.choice(4, n, p=shares[1])])
    tasks, raters, grades = noisy(truth, rng)
    sides = np.repeat([0, 1], n)
    true_drop = (truth[:n] >= 2).mean() - (truth[n:] >= 2).mean()

    def bias(groups):
        score = fitted(tasks, raters, grades, n=2 * n, groups=groups).posterior[:, 2:].sum(axis=1)
        return abs((score[:n].mean() - score[n:].mean()) - true_drop)

    assert bias(sides) <= 0.015
    assert bias(np.zeros(2 * n, dtype=np.int64)) >= 0.04
