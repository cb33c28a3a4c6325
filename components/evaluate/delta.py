"""A delta is evaluated like any candidate, on what its own bundle holds."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from components.contracts.bundle import read_manifest
from components.contracts.catalog import (
    ITEMS_FILE,
    QUERIES_FILE,
    TAXONOMY_FILE,
    Query,
    write_queries,
)
from components.contracts.embeddings import to_table
from components.contracts.files import read_json, sha256_file
from components.contracts.verdict import Verdict
from components.evaluate.config import EvaluateConfig
from components.evaluate.evaluate import evaluate_candidate

_GOLDEN_ANSWERS = "golden/answers.json"
_GOLDEN_QUERIES = "golden/queries.npy"
_NOTE = (
    "A delta: thresholds on shopper photos were held by the whole build that it came from, with "
    "the same encoder; they are not asked again."
)


def evaluate_delta(
    *,
    bundle: Path,
    base: Path,
    origin: Path | None,
    registry: str | None,
    config: EvaluateConfig,
    output: Path,
    report: Path,
) -> Verdict:
    """Gives the offline verdict on a delta: the same checks as on a whole build, and its own.

    The catalog is what the delta indexes, the photos are its golden ones, the incumbent is what it
    was made of. What the golden photos show is not recorded, so that thresholds on shopper photos
    cannot be asked again: they held for the origin, whose encoder this is.

    Args:
        bundle: The delta.
        base: What it was made of, which is live.
        origin: The whole build that it came from; without it the verdict fails.
        registry: The registry that the delta is published in; None leaves infra validation out.
        config: Thresholds, samples and limits.
        output: See `evaluate_candidate`.
        report: See `evaluate_candidate`.
    """
    with tempfile.TemporaryDirectory(prefix="lookalike-delta-") as scratch:
        checked, embeddings = Path(scratch) / "checked", Path(scratch) / "embeddings"
        checked.mkdir()
        for name in (ITEMS_FILE, TAXONOMY_FILE):
            (checked / name).write_bytes((bundle / name).read_bytes())
        _photos(bundle, checked, embeddings)
        return evaluate_candidate(
            bundle=bundle,
            embeddings=embeddings,
            checked=checked,
            incumbent_bundle=base,
            incumbent=read_manifest(base).version,
            registry=registry,
            config=replace(
                config,
                min_leaf_hit_at_10=0.0,
                min_leaf_precision_at_10=0.0,
                min_product_recall_at_10=0.0,
            ),
            output=output,
            report=report,
            origin=origin,
            notes=(_NOTE,),
        )


def _photos(bundle: Path, checked: Path, embeddings: Path) -> None:
    """Writes the golden photos as queries; what they show is not in the bundle."""
    golden = read_json(bundle / _GOLDEN_ANSWERS)["queries"]
    vectors = np.load(bundle / _GOLDEN_QUERIES, allow_pickle=False)
    rows = [
        row for row, record in enumerate(golden) if record["kind"] == "shopper" and record["image"]
    ]
    queries = [
        Query(
            query_id=golden[row]["query_id"],
            image=str(bundle / golden[row]["image"]),
            content_hash=sha256_file(bundle / golden[row]["image"]),
            product_id="",
            taxon_id="",
        )
        for row in rows
    ]
    write_queries(checked / QUERIES_FILE, queries)
    if queries:
        directory = embeddings / "queries"
        directory.mkdir(parents=True)
        table = to_table(
            [query.query_id for query in queries],
            [query.content_hash for query in queries],
            vectors[rows],
        )
        pq.write_table(table, directory / "part-00000.parquet")
