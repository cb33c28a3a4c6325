"""The offline gate's checks on a delta: what shoppers would see that people have not judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.contracts.bundle import MANIFEST_FILE, read_manifest, verify
from components.contracts.delta import CHANGED_RESULTS, DeltaLineage
from components.contracts.files import sha256_file
from components.contracts.verdict import Check
from components.evaluate.bootstrap import bootstrap_mean
from components.evaluate.config import EvaluateConfig
from components.evaluate.questions import ask
from components.evaluate.study import Part, Study
from components.search.retrieval import BundleIndex, Hits


def checks(
    study: Study, lineage: DeltaLineage, origin: Path | None, config: EvaluateConfig
) -> tuple[list[Check], dict[str, float]]:
    """Compares a delta with the whole build that it came from.

    Args:
        study: What was asked of the delta.
        lineage: What its manifest says.
        origin: The whole build that people judged; None when it could not be had.
        config: Bootstrap.

    Returns:
        The checks, and the figures.
    """
    if problem := _not_the_origin(lineage, origin):
        return [Check("delta_origin", "fail", problem)], {}
    assert origin is not None
    before = BundleIndex.load(origin)
    shares = np.concatenate(
        [np.empty(0), *(changed_results(part, study.index, before) for part in study.parts)]
    )
    size, share = _size(study.index, before, lineage)
    found = [
        Check(
            "delta_origin",
            "pass",
            f"delta {lineage.depth} of {lineage.origin}, made of {lineage.base}",
        ),
        size,
    ]
    if not len(shares):
        reason = "there is no query to measure how many results have changed"
        return [*found, Check(CHANGED_RESULTS, "fail", reason, slice=lineage.origin)], {}
    estimate = bootstrap_mean(
        shares, resamples=config.resamples, confidence=config.confidence, seed=config.seed
    )
    # Resampling zeros gives zero for a bound; so many queries can show no less than this.
    unseen = 1 - ((1 - config.confidence) / 2) ** (1 / len(shares))
    upper = min(1.0, max(estimate.upper, unseen))
    found.append(
        Check(
            CHANGED_RESULTS,
            "pass",
            f"{estimate.mean:.2%} of the first 10 results are other than those of "
            f"{lineage.origin}, which people judged (at most {upper:.2%} with "
            f"{config.confidence:.0%}, over {estimate.count} queries)",
            slice=lineage.origin,
            observed=estimate.mean,
            lower=estimate.lower,
            upper=upper,
            requirement="the channel's max_inherited_change, to inherit the human verdict",
        )
    )
    return found, {"changed_results": estimate.mean, "changed_items": share}


def changed_results(
    part: Part, candidate: BundleIndex, origin: BundleIndex
) -> npt.NDArray[np.float64]:
    """Returns each question's share of changed results among the first 10.

    The origin is asked with the very same vectors: a delta has its encoder. A result counts as the
    same when it is the same item with the same image.

    Returns:
        float64 `[questions]`: 1 - |before and after| / max(|before|, |after|); 0 where both are
        empty.
    """
    asked = ask(origin, part.asked.questions, part.asked.vectors, k=10)
    shares = np.zeros(len(part.asked))
    for row, (hits, old) in enumerate(zip(part.asked.hits, asked.hits, strict=True)):
        after, before = _shown(candidate, hits), _shown(origin, old)
        most = max(len(after), len(before))
        shares[row] = 1 - len(after & before) / most if most else 0.0
    return shares


def _shown(index: BundleIndex, hits: Hits) -> set[tuple[str, str]]:
    items = [index.items[position] for position in hits.positions[:10]]
    return {(item.item_id, item.content_hash) for item in items}


def _not_the_origin(lineage: DeltaLineage, origin: Path | None) -> str:
    """Returns why the delta cannot be compared with its origin; empty when it can."""
    if origin is None:
        return f"the whole build {lineage.origin}, of which this is a delta, is not at hand"
    if problems := verify(origin):
        return f"the whole build {lineage.origin} is not whole: {problems[0]}"
    version, digest = read_manifest(origin).version, sha256_file(origin / MANIFEST_FILE)
    if (version, digest) != (lineage.origin, lineage.origin_digest):
        return (
            f"expected the whole build {lineage.origin} with manifest "
            f"{lineage.origin_digest[:12]}, received {version} with {digest[:12]}"
        )
    return ""


def _size(
    candidate: BundleIndex, origin: BundleIndex, lineage: DeltaLineage
) -> tuple[Check, float]:
    """Counts the changed items itself: what the manifest says was written by whoever built it."""
    old = {item.item_id: item.content_hash for item in origin.items}
    new = {item.item_id: item.content_hash for item in candidate.items}
    changed = sum(old.get(key) != new.get(key) for key in old.keys() | new.keys())
    share = changed / max(1, len(old))
    kept = share <= lineage.max_changed_share
    return Check(
        "delta_size",
        "pass" if kept else "fail",
        f"{changed} items ({share:.1%} of the {len(old)} of {lineage.origin}) were added, replaced "
        f"or taken out since, {'within' if kept else 'above'} the limit of "
        f"{lineage.max_changed_share:.1%}"
        f"{'' if kept else ': the index was trained on another catalog; build it whole'}",
        observed=share,
        requirement=f"<= {lineage.max_changed_share:g}, else a rebuild",
    ), share
