"""Dawid-Skene: from noisy grades of several raters to the probability of each grade of a pair.

Every rater has a confusion matrix; every group of pairs (a department on one side) has its own
class prior, as a prior pooled over groups hid a real regression. Golds are clamped to their known
grade.

Source: Dawid and Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM
Algorithm", Applied Statistics 28(1), 1979.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

UNKNOWN = -1


@dataclass(frozen=True)
class Smoothing:
    """Dirichlet pseudo-counts.

    Attributes:
        diagonal: Added to "says the true grade" in each row of a rater's confusion matrix.
        off_diagonal: Added to each wrong grade.
        prior: Added to each grade of a group's class prior.
    """

    diagonal: float = 2.0
    off_diagonal: float = 0.5
    prior: float = 0.5


NO_SMOOTHING = Smoothing(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Fit:
    """What the algorithm found.

    Attributes:
        posterior: float64 [tasks, grades]: probability of each grade of each task.
        confusion: float64 [raters, grades, grades]: row the true grade, column the grade given.
        prior: float64 [groups, grades]: the class prior of each group.
        iterations: How many rounds it took.
    """

    posterior: Floats
    confusion: Floats
    prior: Floats
    iterations: int


def fit(
    tasks: Ints,
    raters: Ints,
    grades: Ints,
    *,
    groups: Ints,
    clamped: Ints,
    categories: int = 4,
    smoothing: Smoothing | None = None,
    tolerance: float = 1e-9,
    most_iterations: int = 500,
) -> Fit:
    """Fits confusion matrices, class priors and posteriors by expectation maximisation.

    Args:
        tasks: int [ratings]: the task of each rating.
        raters: int [ratings]: the rater of each rating.
        grades: int [ratings] in [0, categories).
        groups: int [tasks]: the group whose class prior a task has.
        clamped: int [tasks]: the known grade of a gold, `UNKNOWN` for the others. Golds shape the
            confusion matrices, not the priors: how many were planted says nothing of the shop.
        categories: How many grades there are.
        smoothing: Pseudo-counts; `NO_SMOOTHING` gives the algorithm of 1979.
        tolerance: Stops when no posterior moves by more.
        most_iterations: Stops in any case.

    Returns:
        The fit. A task without ratings has the prior of its group.
    """
    smoothing = smoothing or Smoothing()
    # The sums below must not depend on the order of the rows, to the last bit.
    order = np.lexsort((grades, raters, tasks))
    tasks, raters, grades = tasks[order], raters[order], grades[order]
    known = clamped != UNKNOWN
    fixed = np.eye(categories)[np.where(known, clamped, 0)]
    n_tasks, n_raters = len(groups), int(raters.max(initial=-1)) + 1
    n_groups = int(groups.max(initial=-1)) + 1

    votes = np.bincount(tasks * categories + grades, minlength=n_tasks * categories)
    shares = votes.reshape(n_tasks, categories).astype(np.float64)
    total = shares.sum(axis=1, keepdims=True)
    posterior = np.where(total > 0, shares / np.maximum(total, 1.0), 1.0 / categories)
    posterior = np.where(known[:, None], fixed, posterior)

    cells = raters * categories + grades
    added = np.full((categories, categories), smoothing.off_diagonal)
    np.fill_diagonal(added, smoothing.diagonal)
    iterations = 0
    while iterations < most_iterations:
        iterations += 1
        confusion = _confusion(posterior, tasks, cells, n_raters, categories, added)
        prior = _prior(posterior, groups, n_groups, known, smoothing.prior)
        following = _posterior(confusion, prior, tasks, raters, grades, groups)
        following = np.where(known[:, None], fixed, following)
        moved = float(np.abs(following - posterior).max(initial=0.0))
        posterior = following
        if moved <= tolerance:
            break
    return Fit(posterior, confusion, prior, iterations)


def _confusion(
    posterior: Floats, tasks: Ints, cells: Ints, n_raters: int, categories: int, added: Floats
) -> Floats:
    rows = posterior[tasks]
    counts = np.stack(
        [
            np.bincount(cells, weights=rows[:, true], minlength=n_raters * categories)
            for true in range(categories)
        ]
    )
    table = counts.reshape(categories, n_raters, categories).transpose(1, 0, 2) + added
    total = table.sum(axis=2, keepdims=True)
    return np.asarray(np.where(total > 0, table / np.where(total > 0, total, 1.0), 1 / categories))


def _prior(
    posterior: Floats, groups: Ints, n_groups: int, known: npt.NDArray[np.bool_], added: float
) -> Floats:
    categories = posterior.shape[1]
    free = ~known
    counts: Floats = np.stack(
        [
            np.bincount(groups[free], weights=posterior[free, grade], minlength=n_groups)
            for grade in range(categories)
        ],
        axis=1,
    )
    counts = counts + added
    total = counts.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, counts / np.where(total > 0, total, 1), 1 / categories))


def _posterior(
    confusion: Floats, prior: Floats, tasks: Ints, raters: Ints, grades: Ints, groups: Ints
) -> Floats:
    categories = prior.shape[1]
    # Without smoothing a cell may be 0; its logarithm is a number so large that 0 * -inf never is.
    log_confusion = np.log(np.maximum(confusion, 1e-300))
    likelihood = np.log(np.maximum(prior, 1e-300))[groups]
    seen = log_confusion[raters, :, grades]
    for true in range(categories):
        likelihood[:, true] += np.bincount(tasks, weights=seen[:, true], minlength=len(groups))
    likelihood -= likelihood.max(axis=1, keepdims=True)
    weights = np.exp(likelihood)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
