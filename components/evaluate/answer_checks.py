"""The offline gate's checks on the answers: coverage, recall, near-duplicates, churn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from components.contracts.verdict import Check
from components.evaluate import metrics
from components.evaluate.bootstrap import bootstrap_mean
from components.evaluate.config import EvaluateConfig
from components.search.retrieval import BundleIndex, Hits


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


def index_recall(recalls: npt.NDArray[np.float64], config: EvaluateConfig) -> Check:
    """Compares recall@10 against exact search with its threshold.

    Args:
        recalls: float64 `[queries]`, in [0, 1].
        config: Threshold and bootstrap.
    """
    if not len(recalls):
        return Check("index_recall_at_10", "fail", "no query to measure the index's recall on")
    estimate = bootstrap_mean(
        recalls, resamples=config.resamples, confidence=config.confidence, seed=config.seed
    )
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


def repeats(index: BundleIndex, hits: Sequence[Hits], cosine: float) -> npt.NDArray[np.float64]:
    """Returns each answer's share of near-duplicates among its first 10 results.

    Args:
        index: What answered.
        hits: The answers.
        cosine: From this cosine on a result repeats one above it; the same image always does.

    Returns:
        float64 `[answers]` in [0, 1]; NaN for an answer without results.
    """
    shares = np.full(len(hits), np.nan)
    for row, answer in enumerate(hits):
        positions = answer.positions[:10]
        if positions:
            repeated = metrics.repeated(index.vectors[positions], cosine)
            seen: set[str] = set()
            for place, position in enumerate(positions):
                content = index.items[position].content_hash
                repeated[place] |= content in seen
                seen.add(content)
            shares[row] = repeated.mean()
    return shares


def near_duplicates(
    part: str,
    shares: npt.NDArray[np.float64],
    config: EvaluateConfig,
    *,
    incumbent: npt.NDArray[np.float64] | None = None,
) -> Check | None:
    """Compares the share of results that repeat one above them with its limit.

    Args:
        part: `shopper` or `items`.
        shares: What `repeats` returned for the candidate.
        config: The limit.
        incumbent: What it returned for the incumbent, for comparison.

    Returns:
        The check; None when there was no result.
    """
    known = shares[~np.isnan(shares)]
    if not len(known):
        return None
    share = float(known.mean())
    kept = share <= config.max_near_duplicates
    before = incumbent[~np.isnan(incumbent)] if incumbent is not None else np.empty(0)
    return Check(
        "near_duplicates",
        "pass" if kept else "fail",
        f"{part}: {share:.1%} of the first 10 results show what a result above them shows (cosine "
        f">= {config.near_duplicate_cosine:g}), {'within' if kept else 'above'} the limit of "
        f"{config.max_near_duplicates:.0%}"
        f"{'' if kept else ': shoppers would see the same picture again and again'}",
        slice=part,
        observed=share,
        requirement=f"<= {config.max_near_duplicates:g}",
        incumbent=float(before.mean()) if len(before) else None,
    )


def churn(
    part: str, overlaps: npt.NDArray[np.float64], config: EvaluateConfig, *, same_encoder: bool
) -> Check | None:
    """Compares overlap@10 with the incumbent's answers with its limit.

    Args:
        part: `shopper` or `items`.
        overlaps: float64 `[queries]`: the share of the incumbent's first 10 that stayed.
        config: The limits, one for the incumbent's own encoder and one for another.
        same_encoder: Whether the candidate has the incumbent's encoder.

    Returns:
        The check; None when nothing was asked of both.
    """
    if not len(overlaps):
        return None
    limit = config.min_overlap_same_encoder if same_encoder else config.min_overlap
    estimate = bootstrap_mean(
        overlaps, resamples=config.resamples, confidence=config.confidence, seed=config.seed
    )
    kept = estimate.mean >= limit
    whose = "the same encoder" if same_encoder else "another encoder"
    return Check(
        "overlap_at_10",
        "pass" if kept else "fail",
        f"{part}: {estimate.mean:.1%} of the incumbent's first 10 results stayed, over "
        f"{estimate.count} queries with {whose}, {'at least' if kept else 'below'} the required "
        f"{limit:.0%}{'' if kept else ': so much change at once is more often a fault'}",
        slice=part,
        observed=estimate.mean,
        lower=estimate.lower,
        upper=estimate.upper,
        requirement=f">= {limit:g}",
    )
