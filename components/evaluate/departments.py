"""Departments against the incumbent: one family of tests, corrected for how many they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.verdict import Check
from components.evaluate.bootstrap import bootstrap_mean, p_below
from components.evaluate.config import EvaluateConfig
from components.evaluate.multiple import holm
from components.evaluate.questions import PerQuery

_METRIC = "leaf_precision_at_10"


@dataclass(frozen=True)
class Pairs:
    """One kind of query, asked of the candidate and of the incumbent.

    Attributes:
        name: `shopper` or `items`.
        groups: Each query's department; empty where unknown.
        candidate: Figures of the candidate, float64 `[queries]` each.
        incumbent: Figures of the incumbent for the same queries in the same order.
    """

    name: str
    groups: Sequence[str]
    candidate: PerQuery
    incumbent: PerQuery


@dataclass(frozen=True)
class Change:
    """What became of a department since the incumbent.

    Attributes:
        part: `shopper` or `items`.
        department: Its id.
        queries: How many were compared.
        incumbent: The incumbent's mean leaf precision@10.
        mean: The mean difference.
        lower: Lower end of its interval.
        upper: Upper end.
        p_value: Against "at most the margin worse", after Holm's correction; None where there are
            too few queries to guard the department.
    """

    part: str
    department: str
    queries: int
    incumbent: float
    mean: float
    lower: float
    upper: float
    p_value: float | None

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return asdict(self)


def changes(pairs: Sequence[Pairs], config: EvaluateConfig) -> list[Change]:
    """Returns every department's change, tested where it has enough queries.

    A department is shown to be worse when the hypothesis that it is at most the margin worse has a
    small p-value. All departments and kinds of queries are one family of tests: their p-values are
    corrected by Holm, or with twenty departments that are as good as ever one run in three would
    blame some department.

    Args:
        pairs: Each kind of query.
        config: Margin, minimum support and bootstrap.
    """
    found = [(one.name, *rest) for one in pairs for rest in _by_department(one)]
    enough = [len(difference) >= config.min_department_queries for *_, difference, _ in found]
    # The smallest p-value that so many draws can give must still count after the correction.
    resamples = max(config.resamples, math.ceil(4 * sum(enough) / _alpha(config)))
    adjusted = iter(
        holm(
            [
                p_below(
                    difference, -config.department_margin, resamples=resamples, seed=config.seed
                )
                for (*_, difference, _), tested in zip(found, enough, strict=True)
                if tested
            ]
        )
    )
    result = []
    for (part, department, difference, theirs), tested in zip(found, enough, strict=True):
        estimate = bootstrap_mean(
            difference, resamples=config.resamples, confidence=config.confidence, seed=config.seed
        )
        result.append(
            Change(
                part=part,
                department=department,
                queries=estimate.count,
                incumbent=float(theirs.mean()),
                mean=estimate.mean,
                lower=estimate.lower,
                upper=estimate.upper,
                p_value=next(adjusted) if tested else None,
            )
        )
    return result


def checks(found: Sequence[Change], config: EvaluateConfig) -> list[Check]:
    """Returns one check for each department that is shown to be worse.

    When none is, one for each kind of query: twenty lines that say the same hide the one that does
    not. None for a kind without a department that has enough queries.
    """
    tested = [change for change in found if change.p_value is not None]
    failed = [change for change in tested if is_worse(change, config)]
    if failed:
        return [_check(change, config) for change in failed]
    return [
        _all_hold(
            [change for change in tested if change.part == part],
            [change for change in found if change.part == part and change.p_value is None],
            config,
        )
        for part in dict.fromkeys(change.part for change in tested)
    ]


def is_worse(change: Change, config: EvaluateConfig) -> bool:
    """Whether a department is shown to be more than the margin worse."""
    return change.p_value is not None and change.p_value <= _alpha(config)


def _by_department(
    pairs: Pairs,
) -> Iterator[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Yields each department with its paired differences and the incumbent's figures."""
    names = np.array(pairs.groups, dtype=str)
    ours, theirs = pairs.candidate[_METRIC], pairs.incumbent[_METRIC]
    known = ~(np.isnan(ours) | np.isnan(theirs))
    for group in sorted(set(pairs.groups) - {""}):
        mask = (names == group) & known
        if mask.any():
            yield group, ours[mask] - theirs[mask], theirs[mask]


def _alpha(config: EvaluateConfig) -> float:
    return (1 - config.confidence) / 2


def _check(change: Change, config: EvaluateConfig) -> Check:
    return Check(
        f"{_METRIC}_change",
        "fail" if is_worse(change, config) else "pass",
        _words(change, config),
        slice=f"{change.part}:{change.department}",
        observed=change.mean,
        lower=change.lower,
        upper=change.upper,
        requirement=f"p(at most {config.department_margin:g} worse) > {_alpha(config):g}",
        incumbent=change.incumbent,
    )


def _all_hold(tested: Sequence[Change], few: Sequence[Change], config: EvaluateConfig) -> Check:
    worst = min(tested, key=lambda change: change.mean)
    unguarded = ", ".join(change.department for change in few)
    tail = f"; too few queries to guard {unguarded}" if few else ""
    return Check(
        "departments_change",
        "pass",
        f"{worst.part}: none of {len(tested)} departments is shown to be worse; the lowest is "
        f"{_words(worst, config)}{tail}",
        slice=worst.part,
        observed=worst.mean,
        lower=worst.lower,
        upper=worst.upper,
        requirement=f"p(at most {config.department_margin:g} worse) > {_alpha(config):g}",
        incumbent=worst.incumbent,
    )


def _words(change: Change, config: EvaluateConfig) -> str:
    shown = "shown" if is_worse(change, config) else "not shown"
    return (
        f"{change.part}:{change.department}: {_METRIC} is {change.incumbent + change.mean:.3f} "
        f"against the incumbent's {change.incumbent:.3f} over {change.queries} queries, {shown} to "
        f"be more than {config.department_margin:g} worse (p = {change.p_value:.2g} after Holm's "
        "correction)"
    )
