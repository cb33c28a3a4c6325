"""The offline gate's checks on quality: figures in, checks with reasons in words out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from components.contracts.verdict import Check, Status
from components.evaluate.bootstrap import Estimate, bootstrap_mean
from components.evaluate.config import EvaluateConfig
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
