"""Who may judge: Youden's index on golds, and against the others on live pairs.

Plain accuracy on unbalanced golds lets "always similar" raters through; Youden's J does not. Golds
alone let through those who know them; the comparison with their peers does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SIMILAR = 2
CANT_TELL = -1
# .7 + .7 - 1 is a hair below .4 in floating point; a rater is not banned for that.
_ROUNDING = 1e-9
# With five pairs on either side a good rater cannot look like one who calls everything similar.
_LEAST_PEER_PAIRS = 5


@dataclass(frozen=True)
class RaterReport:
    """What is known of one rater.

    Attributes:
        rater_id: Who.
        ratings: Live ratings given.
        golds: Golds answered.
        gold_youden: Youden's J on golds; None while there are too few or too one-sided ones.
        peer_youden: Youden's J against the others' majority on live pairs; None while too few.
        standing: `counted`, `unqualified` (too few golds yet), `banned_golds`, `banned_peers`.
    """

    rater_id: str
    ratings: int
    golds: int
    gold_youden: float | None
    peer_youden: float | None
    standing: str


def youden(said: Bools, truth: Bools) -> float | None:
    """Returns sensitivity + specificity - 1.

    Args:
        said: bool [n]: what was said.
        truth: bool [n]: what is true.

    Returns:
        A number in [-1, 1]; None when one of the two truths is absent.
    """
    if not truth.any() or truth.all():
        return None
    return float(said[truth].mean() + (~said[~truth]).mean() - 1.0)


def youden_lower_bound(
    hits: int, positives: int, rejections: int, negatives: int, *, alpha: float
) -> float:
    """Returns a lower confidence bound of Youden's J.

    Each of the two shares has its exact (Clopper and Pearson 1934) bound at alpha / 2, so that the
    sum holds with 1 - alpha whatever the dependence.

    Args:
        hits: Positive golds called similar.
        positives: Positive golds.
        rejections: Negative golds called not similar.
        negatives: Negative golds.
        alpha: One-sided error.
    """
    return (
        binomial_lower_bound(hits, positives, alpha=alpha / 2)
        + binomial_lower_bound(rejections, negatives, alpha=alpha / 2)
        - 1.0
    )


def binomial_lower_bound(successes: int, trials: int, *, alpha: float) -> float:
    """Returns the exact lower bound of a share: the p with P(X >= successes | p) = alpha."""
    if trials == 0 or successes == 0:
        return 0.0
    counts = range(successes, trials + 1)
    choose = [
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in counts
    ]
    low, high = 0.0, 1.0
    for _ in range(60):
        p = (low + high) / 2
        tail = math.fsum(
            math.exp(c + k * math.log(p) + (trials - k) * math.log1p(-p))
            for c, k in zip(choose, counts, strict=True)
        )
        low, high = (p, high) if tail < alpha else (low, p)
    return low


def judge_raters(
    rater_ids: tuple[str, ...],
    tasks: Ints,
    raters: Ints,
    grades: Ints,
    gold_grades: Ints,
    *,
    least_golds: int,
    gold_youden: float,
    peer_youden: float,
) -> tuple[RaterReport, ...]:
    """Returns what is known of every rater and whether their labels count.

    Args:
        rater_ids: One a rater.
        tasks: int [ratings]: index of the task.
        raters: int [ratings]: index of the rater.
        grades: int [ratings]: 0 to 3, or `CANT_TELL`.
        gold_grades: int [tasks]: the known grade of a gold, -1 for a live pair.
        least_golds: Balanced golds needed: half of them positive, half negative.
        gold_youden: Least J on golds. Not being able to tell a gold counts as a wrong answer.
        peer_youden: Least J against the others' majority. Only raters who passed the golds are
            asked for the majority: those who call everything similar must not set it.
    """
    on_gold = gold_grades[tasks] >= 0
    positive = gold_grades[tasks] >= SIMILAR
    similar = grades >= SIMILAR
    right_gold = np.where(grades == CANT_TELL, ~positive, similar)
    golds: list[tuple[int, float | None, str]] = []
    for rater in range(len(rater_ids)):
        mine = on_gold & (raters == rater)
        n_positive = int((mine & positive).sum())
        n_negative = int((mine & ~positive).sum())
        enough = min(n_positive, n_negative) >= least_golds // 2
        index = youden(right_gold[mine], positive[mine]) if enough else None
        if index is None:
            standing = "unqualified"
        else:
            standing = "counted" if index >= gold_youden - _ROUNDING else "banned_golds"
        golds.append((n_positive + n_negative, index, standing))
    staying = np.array([entry[2] == "counted" for entry in golds], dtype=bool)
    peers = _peer_indices(tasks, raters, similar, grades, ~on_gold, staying, len(gold_grades))
    reports = []
    for rater, (count, index, standing) in enumerate(golds):
        peer = peers.get(rater)
        final = "banned_peers" if peer is not None and peer < peer_youden - _ROUNDING else standing
        live = int((~on_gold & (raters == rater)).sum())
        reports.append(RaterReport(rater_ids[rater], live, count, index, peer, final))
    return tuple(reports)


def _peer_indices(
    tasks: Ints,
    raters: Ints,
    similar: Bools,
    grades: Ints,
    live: Bools,
    staying: Bools,
    n_tasks: int,
) -> dict[int, float]:
    """Returns J against the others' majority for each staying rater with enough pairs."""
    if len(tasks) == 0:
        return {}
    use = live & staying[raters] & (grades != CANT_TELL)
    tasks, raters, similar = tasks[use], raters[use], similar[use]
    yes = np.bincount(tasks, weights=similar, minlength=n_tasks)
    total = np.bincount(tasks, minlength=n_tasks)
    others_yes = yes[tasks] - similar
    others = total[tasks] - 1
    indices: dict[int, float] = {}
    for rater in np.flatnonzero(staying):
        mine = (raters == rater) & (others >= 2) & (2 * others_yes != others)
        truth = 2 * others_yes[mine] > others[mine]
        if min(int(truth.sum()), int((~truth).sum())) < _LEAST_PEER_PAIRS:
            continue
        index = youden(similar[mine], truth)
        if index is not None:
            indices[int(rater)] = index
    return indices
