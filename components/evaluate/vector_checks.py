"""The offline gate's checks on the vectors: collapse, norms, drift."""

from __future__ import annotations

import numpy as np

from components.contracts.embeddings import Vectors
from components.contracts.verdict import Check
from components.evaluate import metrics
from components.evaluate.config import EvaluateConfig
from components.search.retrieval import BundleIndex

_COLLAPSE_SAMPLE = 5000
# Fewer vectors say nothing of collapse.
_COLLAPSE_MINIMUM = 16
# Vectors read at once.
_BLOCK_ROWS = 65_536


def collapse(
    vectors: Vectors, config: EvaluateConfig, *, incumbent: Vectors | None = None
) -> tuple[list[Check], dict[str, float]]:
    """Checks that the encoder tells items apart at all.

    Args:
        vectors: float32 `[items, dim]`, unit norm.
        config: Limits and seed.
        incumbent: The live index's vectors, for comparison; they set no limit.

    Returns:
        The checks, none for fewer vectors than say anything, and the figures.
    """
    sample = _sample(vectors, config)
    if len(sample) < _COLLAPSE_MINIMUM:
        return [], {}
    cosine, rank = metrics.mean_cosine(sample), metrics.effective_rank(sample)
    theirs = _sample(incumbent, config) if incumbent is not None else sample[:0]
    known = len(theirs) >= _COLLAPSE_MINIMUM
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
            incumbent=metrics.mean_cosine(theirs) if known else None,
        ),
        Check(
            "embedding_effective_rank",
            "pass" if ranked else "fail",
            f"the vectors have an effective rank of {rank:.1f}, "
            f"{'at least' if ranked else 'below'} the required {wanted:.1f}"
            f"{'' if ranked else ': the encoder uses hardly any of its dimensions'}",
            observed=rank,
            requirement=f">= {wanted:g}",
            incumbent=metrics.effective_rank(theirs) if known else None,
        ),
    ], {"mean_cosine": cosine, "effective_rank": rank}


def norms(
    vectors: Vectors, config: EvaluateConfig, *, incumbent: Vectors | None = None
) -> tuple[Check, dict[str, float]]:
    """Checks that every vector has norm 1: scores are cosines only as long as that holds.

    Args:
        vectors: float32 `[items, dim]`.
        config: The limit.
        incumbent: The live index's vectors, for comparison.

    Returns:
        The check, and the smallest, mean and largest norm.
    """
    lengths = _norms(vectors)
    figures = {
        "norm_min": float(lengths.min()),
        "norm_mean": float(lengths.mean()),
        "norm_max": float(lengths.max()),
    }
    off = np.abs(lengths - 1)
    worst = float(off.max())
    kept = worst <= config.max_norm_drift
    before = float(_norms(incumbent).mean()) if incumbent is not None else None
    drifted = f", {figures['norm_mean'] - before:+.1e} since the incumbent" if before else ""
    return Check(
        "embedding_norm",
        "pass" if kept else "fail",
        f"norms lie between {figures['norm_min']:.6f} and {figures['norm_max']:.6f}, mean "
        f"{figures['norm_mean']:.6f}{drifted}; "
        + (
            "all are 1 up to rounding"
            if kept
            else f"{int(np.sum(off > config.max_norm_drift))} of {len(lengths)} are off by more "
            f"than {config.max_norm_drift:g}, so that scores are no cosines"
        ),
        observed=worst,
        requirement=f"|norm - 1| <= {config.max_norm_drift:g}",
        incumbent=float(np.abs(_norms(incumbent) - 1).max()) if incumbent is not None else None,
    ), figures


def drift(candidate: BundleIndex, incumbent: BundleIndex, config: EvaluateConfig) -> Check | None:
    """Checks that the same encoder gave unchanged images the vectors that it gave them before.

    Args:
        candidate: The candidate's index.
        incumbent: The live index, by the same encoder.
        config: The limit.

    Returns:
        The check; None when the indexes have no unchanged image in common.
    """
    rows = [
        (row, incumbent.position(item.item_id))
        for row, item in enumerate(candidate.items)
        if item.item_id in incumbent
        and incumbent.item(item.item_id).content_hash == item.content_hash
    ]
    if not rows:
        return None
    ours, theirs = np.array(rows).T
    distances = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        a, b = candidate.vectors[ours[part]], incumbent.vectors[theirs[part]]
        distances[part] = 1 - np.einsum("ij,ij->i", a.astype(np.float64), b)
    worst = int(distances.argmax())
    observed = max(0.0, float(distances[worst]))
    kept = observed <= config.max_drift
    return Check(
        "embedding_drift",
        "pass" if kept else "fail",
        f"the encoder is the incumbent's, and {len(rows)} unchanged images have "
        + (
            f"the vectors they had (largest distance {observed:.1e})"
            if kept
            else f"other vectors, the farthest {candidate.items[ours[worst]].item_id!r} with a "
            f"cosine distance of {observed:.3g}: preprocessing or encoder are not what they were"
        ),
        observed=observed,
        requirement=f"<= {config.max_drift:g}",
    )


def _sample(vectors: Vectors, config: EvaluateConfig) -> Vectors:
    rng = np.random.default_rng(config.seed)
    rows = np.sort(rng.permutation(len(vectors))[:_COLLAPSE_SAMPLE])
    return vectors[rows]


def _norms(vectors: Vectors) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    lengths = np.empty(len(vectors))
    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = vectors[start : start + _BLOCK_ROWS].astype(np.float64)
        lengths[start : start + len(block)] = np.sqrt(np.einsum("ij,ij->i", block, block))
    return lengths
