"""The offline gate's checks on quality: figures in, checks with reasons in words out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from components.contracts.verdict import Check, Status
from components.evaluate.bootstrap import Estimate, bootstrap_mean, p_below
from components.evaluate.config import EvaluateConfig
from components.evaluate.multiple import holm
from components.evaluate.questions import PerQuery

# Metrics that must be shown not to be worse than the incumbent's; the others vary more and must
# not be shown to be worse.
_NON_INFERIOR = ("leaf_precision_at_10",)
_NOT_WORSE = ("leaf_hit_at_10", "product_recall_at_10")


def absolute(shopper: PerQuery, items: PerQuery, config: EvaluateConfig) -> list[Check]:
    """Compares figures with fixed thresholds; a threshold of 0 gives no check."""
    thresholds = (
        ("shopper", "leaf_hit_at_10", config.min_leaf_hit_at_10, shopper),
        ("shopper", "leaf_precision_at_10", config.min_leaf_precision_at_10, shopper),
        ("shopper", "product_recall_at_10", config.min_product_recall_at_10, shopper),
        ("items", "leaf_precision_at_10", config.min_item_leaf_precision_at_10, items),
    )
    checks = []
    for part, name, threshold, values in thresholds:
        if not threshold:
            continue
        known = _known(values.get(name))
        if not len(known):
            checks.append(
                Check(
                    name,
                    "fail",
                    f"{part}: {name} must be at least {threshold:g}, but no query has a known "
                    "answer to measure it on",
                    slice=part,
                    requirement=f">= {threshold:g}",
                )
            )
            continue
        estimate = _estimate(known, config)
        reached = estimate.mean >= threshold
        checks.append(
            Check(
                name,
                "pass" if reached else "fail",
                f"{part}: {name} is {estimate.mean:.3f} over {estimate.count} queries, "
                f"{'at least' if reached else 'below'} the required {threshold:g}",
                slice=part,
                observed=estimate.mean,
                lower=estimate.lower,
                upper=estimate.upper,
                requirement=f">= {threshold:g}",
            )
        )
    return checks


def against_incumbent(
    part: str, candidate: PerQuery, incumbent: PerQuery, config: EvaluateConfig
) -> list[Check]:
    """Compares the candidate with the incumbent on the same queries, in pairs.

    Args:
        part: `shopper` or `items`.
        candidate: Figures of the candidate, float64 `[queries]` each.
        incumbent: Figures of the incumbent for the same queries in the same order.
        config: Margin and bootstrap.
    """
    checks = []
    for name in (*_NON_INFERIOR, *_NOT_WORSE):
        check = _paired(
            f"{name}_change",
            part,
            candidate.get(name),
            incumbent.get(name),
            margin=config.margin,
            must_show=name in _NON_INFERIOR,
            config=config,
        )
        if check:
            checks.append(check)
    return checks


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


def departments(pairs: Sequence[Pairs], config: EvaluateConfig) -> list[Check]:
    """Guards each department with enough queries against being shown worse than the incumbent.

    A department is shown to be worse when the hypothesis that it is at most the margin worse has a
    small p-value. All departments and kinds of queries are one family of tests: their p-values are
    corrected by Holm, or with twenty departments that are as good as ever one run in three would
    blame some department.

    Args:
        pairs: Each kind of query.
        config: Margin, minimum support and bootstrap.

    Returns:
        One check for each department that fails; when none does, one for each kind of query. None
        for a kind without a department that has enough queries.
    """
    tested = [
        (one.name, group, difference, theirs)
        for one in pairs
        for group, difference, theirs in _by_department(one)
        if len(difference) >= config.min_department_queries
    ]
    few = [
        f"{one.name}:{group}"
        for one in pairs
        for group, difference, _ in _by_department(one)
        if len(difference) < config.min_department_queries
    ]
    alpha = (1 - config.confidence) / 2
    # The smallest p-value that so many draws can give must still count after the correction.
    resamples = max(config.resamples, math.ceil(4 * len(tested) / alpha))
    adjusted = holm(
        [
            p_below(
                difference,
                -config.department_margin,
                resamples=resamples,
                seed=config.seed,
            )
            for _, _, difference, _ in tested
        ]
    )
    found = [
        _department(part, group, difference, theirs, p_value, len(tested), config)
        for (part, group, difference, theirs), p_value in zip(tested, adjusted, strict=True)
    ]
    failed = [check for check in found if check.status != "pass"]
    if failed:
        return failed
    return [
        _departments_hold(part, [check for check in found if check.slice.startswith(part)], few)
        for part in dict.fromkeys(part for part, *_ in tested)
    ]


def _by_department(
    pairs: Pairs,
) -> Iterator[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Yields each department with its paired differences and the incumbent's figures."""
    names = np.array(pairs.groups, dtype=str)
    ours = pairs.candidate["leaf_precision_at_10"]
    theirs = pairs.incumbent["leaf_precision_at_10"]
    known = ~(np.isnan(ours) | np.isnan(theirs))
    for group in sorted(set(pairs.groups) - {""}):
        mask = (names == group) & known
        if mask.any():
            yield group, ours[mask] - theirs[mask], theirs[mask]


def _department(
    part: str,
    group: str,
    difference: npt.NDArray[np.float64],
    theirs: npt.NDArray[np.float64],
    p_value: float,
    tests: int,
    config: EvaluateConfig,
) -> Check:
    estimate = _estimate(difference, config)
    kept = p_value > (1 - config.confidence) / 2
    before = float(theirs.mean())
    margin = config.department_margin
    return Check(
        "leaf_precision_at_10_change",
        "pass" if kept else "fail",
        f"{part}:{group}: leaf_precision_at_10 is {before + estimate.mean:.3f} against the "
        f"incumbent's {before:.3f} over {estimate.count} queries, "
        f"{'not shown' if kept else 'shown'} to be more than {margin:g} worse (p = {p_value:.2g} "
        f"after Holm's correction for {tests} tests)",
        slice=f"{part}:{group}",
        observed=estimate.mean,
        lower=estimate.lower,
        upper=estimate.upper,
        requirement=f"p(at most {margin:g} worse) > {(1 - config.confidence) / 2:g}",
        incumbent=before,
    )


def _departments_hold(part: str, found: Sequence[Check], few: Sequence[str]) -> Check:
    """Returns one check for all of them: twenty lines that say the same hide the other one."""
    worst = min(found, key=lambda check: check.observed or 0.0)
    without = [name.split(":", 1)[1] for name in few if name.startswith(f"{part}:")]
    tail = f"; too few queries to guard {', '.join(without)}" if without else ""
    return replace(
        worst,
        name="departments_change",
        slice=part,
        reason=f"{part}: none of {len(found)} departments is shown to be worse; the lowest is "
        f"{worst.reason}{tail}",
    )


def better_than_chance(
    part: str, values: PerQuery, chance: npt.NDArray[np.float64], config: EvaluateConfig
) -> Check | None:
    """Holds a candidate without an incumbent against answers drawn at random.

    Args:
        part: `shopper` or `items`.
        values: Figures of the candidate.
        chance: float64 `[queries]`: the leaf precision that random products would reach.
        config: Bootstrap.

    Returns:
        The check; None when no query has a known answer.
    """
    ours = values.get("leaf_precision_at_10")
    if ours is None:
        return None
    known = ~np.isnan(ours)
    if not known.any():
        return None
    difference = _estimate(ours[known] - chance[known], config)
    better = difference.lower > 0
    return Check(
        "better_than_chance",
        "pass" if better else "fail",
        f"{part}: leaf_precision_at_10 is {float(ours[known].mean()):.3f} over {difference.count} "
        f"queries, products drawn at random would reach {float(chance[known].mean()):.3f}; "
        f"{'shown' if better else 'not shown'} to be better",
        slice=part,
        observed=difference.mean,
        lower=difference.lower,
        upper=difference.upper,
        requirement="lower bound > 0",
    )


def _paired(
    name: str,
    part: str,
    candidate: npt.NDArray[np.float64] | None,
    incumbent: npt.NDArray[np.float64] | None,
    *,
    margin: float,
    must_show: bool,
    config: EvaluateConfig,
) -> Check | None:
    if candidate is None or incumbent is None:
        return None
    both = ~(np.isnan(candidate) | np.isnan(incumbent))
    if not both.any():
        return None
    difference = _estimate(candidate[both] - incumbent[both], config)
    ours, theirs = float(candidate[both].mean()), float(incumbent[both].mean())
    if must_show:
        kept = difference.lower > -margin
        requirement = f"lower bound > -{margin:g}"
        words = f"{'shown' if kept else 'not shown'} to be at most {margin:g} worse"
    else:
        kept = difference.upper >= -margin
        requirement = f"upper bound >= -{margin:g}"
        words = f"{'not shown' if kept else 'shown'} to be more than {margin:g} worse"
    metric = name.removesuffix("_change")
    status: Status = "pass" if kept else "fail"
    return Check(
        name,
        status,
        f"{part}: {metric} is {ours:.3f} against the incumbent's {theirs:.3f} over "
        f"{difference.count} queries, {words} (difference {difference.lower:+.3f} to "
        f"{difference.upper:+.3f} with {config.confidence:.0%})",
        slice=part,
        observed=difference.mean,
        lower=difference.lower,
        upper=difference.upper,
        requirement=requirement,
        incumbent=theirs,
    )


def _estimate(values: npt.NDArray[np.float64], config: EvaluateConfig) -> Estimate:
    return bootstrap_mean(
        values, resamples=config.resamples, confidence=config.confidence, seed=config.seed
    )


def _known(values: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
    if values is None:
        return np.empty(0)
    return np.asarray(values[~np.isnan(values)])
