"""From the pipeline's parameters and artifacts to the evaluation."""

from __future__ import annotations

import tempfile
from pathlib import Path

from components.contracts import incumbent as incumbents
from components.contracts.files import write_atomically
from components.contracts.verdict import to_markdown, to_metrics
from components.evaluate.config import EvaluateConfig
from components.evaluate.evaluate import evaluate_candidate
from components.registry.registry import Registry


def run(
    checked: str,
    embeddings: str,
    bundle: str,
    registry: str,
    incumbent: str,
    evaluation: str,
    verdict: str,
    report: str,
    *,
    min_leaf_hit_at_10: float,
    min_leaf_precision_at_10: float,
    min_product_recall_at_10: float,
    min_item_leaf_precision_at_10: float,
    min_index_recall_at_10: float,
    min_coverage: float,
    margin: float,
    min_overlap: float,
    max_near_duplicates: float,
    max_search_p95_ms: float,
    max_server_memory_mb: float,
    seed: int,
) -> tuple[str, dict[str, float]]:
    """Evaluates the candidate and writes the verdict to the registry.

    Returns:
        `pass` or `fail`, and the figures to show.
    """
    bundles = Registry.open(registry)
    with tempfile.TemporaryDirectory() as scratch:
        live = None
        if incumbent != incumbents.NONE:
            live = bundles.download_bundle(incumbent, Path(scratch) / "live")
        outcome = evaluate_candidate(
            bundle=Path(bundle),
            embeddings=Path(embeddings),
            checked=Path(checked),
            incumbent_bundle=live,
            incumbent=incumbents.version_of(incumbent),
            registry=registry,
            config=EvaluateConfig(
                min_leaf_hit_at_10=min_leaf_hit_at_10,
                min_leaf_precision_at_10=min_leaf_precision_at_10,
                min_product_recall_at_10=min_product_recall_at_10,
                min_item_leaf_precision_at_10=min_item_leaf_precision_at_10,
                min_index_recall_at_10=min_index_recall_at_10,
                min_coverage=min_coverage,
                margin=margin,
                min_overlap=min_overlap,
                max_near_duplicates=max_near_duplicates,
                max_search_p95_ms=max_search_p95_ms,
                max_server_memory_mb=max_server_memory_mb,
                seed=seed,
            ),
            output=Path(evaluation),
            report=Path(report),
        )
    bundles.write_verdict(outcome)
    write_atomically(Path(verdict), to_markdown(outcome))
    return outcome.status, to_metrics(outcome)
