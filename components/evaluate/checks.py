"""The offline gate's checks: figures in, checks with reasons in words out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from components.contracts.embeddings import Vectors
from components.contracts.verdict import Check, Status
from components.evaluate import metrics
from components.evaluate.bootstrap import Estimate, bootstrap_mean
from components.evaluate.config import EvaluateConfig
from components.evaluate.questions import PerQuery

_COLLAPSE_SAMPLE = 5000
# Fewer vectors say nothing of collapse.
_COLLAPSE_MINIMUM = 16
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


def departments(
    part: str,
    groups: Sequence[str],
    candidate: PerQuery,
    incumbent: PerQuery,
    config: EvaluateConfig,
) -> list[Check]:
    """Guards each department with enough queries against being shown worse than the incumbent.

    Args:
        part: `shopper` or `items`.
        groups: Each query's department; empty where unknown.
        candidate: Figures of the candidate.
        incumbent: Figures of the incumbent for the same queries in the same order.
        config: Margin, minimum support and bootstrap.

    Returns:
        One check for each department that fails; when none does, one for all of them.
    """
    found = []
    names = np.array(groups, dtype=str)
    ours, theirs = candidate["leaf_precision_at_10"], incumbent["leaf_precision_at_10"]
    for group in sorted(set(groups) - {""}):
        mask = names == group
        if mask.sum() < config.min_department_queries:
            continue
        check = _paired(
            "leaf_precision_at_10_change",
            f"{part}:{group}",
            ours[mask],
            theirs[mask],
            margin=config.department_margin,
            must_show=False,
            config=config,
        )
        if check:
            found.append(check)
    failed = [check for check in found if check.status != "pass"]
    if failed or not found:
        return failed
    worst = min(found, key=lambda check: check.observed or 0.0)
    # Twenty lines that say the same hide the one that does not.
    return [
        replace(
            worst,
            name="departments_change",
            slice=part,
            reason=f"{part}: none of {len(found)} departments is shown to be more than "
            f"{config.department_margin:g} worse; the lowest is {worst.reason}",
        )
    ]


def coverage(indexed: int, checked: int, config: EvaluateConfig) -> Check:
    """Compares the share of the checked catalog's items that are indexed with its threshold."""
    share = indexed / checked if checked else 0.0
    enough = checked > 0 and share >= config.min_coverage
    return Check(
        "coverage",
        "pass" if enough else "fail",
        f"{indexed} of {checked} items of the live catalog are indexed ({share:.1%}), "
        f"{'at least' if enough else 'below'} the required {config.min_coverage:.1%}",
        observed=share,
        requirement=f">= {config.min_coverage:g}",
    )


def collapse(vectors: Vectors, config: EvaluateConfig) -> tuple[list[Check], dict[str, float]]:
    """Checks that the encoder tells items apart at all.

    Returns:
        The checks, none for fewer vectors than say anything, and the figures.
    """
    if len(vectors) < _COLLAPSE_MINIMUM:
        return [], {}
    rng = np.random.default_rng(config.seed)
    rows = np.sort(rng.permutation(len(vectors))[:_COLLAPSE_SAMPLE])
    sample = vectors[rows]
    cosine, rank = metrics.mean_cosine(sample), metrics.effective_rank(sample)
    # Few vectors, or vectors of few dimensions, cannot have a high rank.
    wanted = min(config.min_effective_rank, 0.5 * min(len(sample) - 1, sample.shape[1]))
    spread, ranked = cosine <= config.max_mean_cosine, rank >= wanted
    return [
        Check(
            "embedding_mean_cosine",
            "pass" if spread else "fail",
            f"two items have a cosine of {cosine:.3f} on average, "
            f"{'within' if spread else 'above'} the limit of {config.max_mean_cosine:g}"
            f"{'' if spread else ': the encoder makes nearly the same vector of everything'}",
            observed=cosine,
            requirement=f"<= {config.max_mean_cosine:g}",
        ),
        Check(
            "embedding_effective_rank",
            "pass" if ranked else "fail",
            f"the vectors have an effective rank of {rank:.1f}, "
            f"{'at least' if ranked else 'below'} the required {wanted:.1f}"
            f"{'' if ranked else ': the encoder uses hardly any of its dimensions'}",
            observed=rank,
            requirement=f">= {wanted:g}",
        ),
    ], {"mean_cosine": cosine, "effective_rank": rank}


def index_recall(recalls: npt.NDArray[np.float64], config: EvaluateConfig) -> Check:
    """Compares recall@10 against exact search with its threshold.

    Args:
        recalls: float64 `[queries]`, in [0, 1].
        config: Threshold and bootstrap.
    """
    if not len(recalls):
        return Check("index_recall_at_10", "fail", "no query to measure the index's recall on")
    estimate = _estimate(recalls, config)
    reached = estimate.mean >= config.min_index_recall_at_10
    return Check(
        "index_recall_at_10",
        "pass" if reached else "fail",
        f"the index finds {estimate.mean:.4f} of what exact search finds in the first 10, over "
        f"{estimate.count} queries, {'at least' if reached else 'below'} the required "
        f"{config.min_index_recall_at_10:g}",
        observed=estimate.mean,
        lower=estimate.lower,
        upper=estimate.upper,
        requirement=f">= {config.min_index_recall_at_10:g}",
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
