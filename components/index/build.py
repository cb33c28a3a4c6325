"""The index step: embeddings in, one immutable bundle out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts import embeddings as embedding_files
from components.contracts.bundle import Manifest, content_digest, list_files, write_manifest
from components.contracts.catalog import QUERIES_FILE, TAXONOMY_FILE, Item, Query, read_queries
from components.contracts.embeddings import Embeddings, Vectors
from components.contracts.encoder import EncoderCard, read_encoder
from components.contracts.errors import InputError
from components.contracts.files import (
    fresh_directory,
    read_json,
    sha256_file,
    write_atomically,
    write_json,
)
from components.index.config import IndexConfig
from components.index.gather import gather
from components.index.golden import write_golden
from components.index.report import render
from components.index.shards import build_in_shards
from components.index.tune import Tuned, tune
from components.search import neighbours
from components.search import searcher as search
from components.search.retrieval import BundleIndex
from components.search.searcher import check_vectors

MODES = ("scratch", "warm", "reuse")
CURVE_FILE = "index/curve.json"


def build_index(
    *,
    checked: Path,
    encoder: Path,
    embeddings: Path,
    mode: str,
    lineage: Mapping[str, Any],
    parameters: Mapping[str, Any],
    config: IndexConfig,
    bundle: Path,
    report: Path,
) -> Manifest:
    """Builds the bundle: index, encoder, taxonomy, items, golden queries and their manifest.

    The manifest is written last: a build that was interrupted leaves a directory that no one takes
    for a bundle, and the next attempt starts afresh.

    Args:
        checked: The checked catalog.
        encoder: The encoder that the embeddings came from.
        embeddings: The embed step's output.
        mode: `scratch`, `warm` or `reuse`: how the run came by its encoder.
        lineage: Catalog, code, run, incumbent: kept in the manifest as given.
        parameters: The parameters of every step: kept in the manifest as given.
        config: The index's own parameters.
        bundle: Directory to write the bundle into.
        report: HTML file to write the recall/latency page into.

    Returns:
        The manifest.

    Raises:
        InputError: Embeddings, encoder and catalog do not belong together, or no item is left.
    """
    if mode not in MODES:
        raise InputError(f"mode {mode!r}: expected {', '.join(MODES)}")
    card = read_encoder(encoder)
    summary = _summary(embeddings, card)
    queries, query_vectors = _queries(checked, embeddings, card)

    fresh_directory(bundle)
    gathered = gather(checked, embeddings / "items", card, bundle)
    items, vectors = gathered.items, gathered.vectors
    shutil.copytree(encoder, bundle / "encoder")
    shutil.copyfile(checked / TAXONOMY_FILE, bundle / TAXONOMY_FILE)
    if len(items) > config.shard_items:
        tuned = build_in_shards(items, vectors, query_vectors, config, bundle)
    else:
        tuned = tune(items, vectors, query_vectors, config)
        search.save_searcher(tuned.searcher, bundle)
    write_json(bundle / CURVE_FILE, _curve(tuned, config))
    # Golden answers come from the files as they lie in the bundle, not from what is in memory.
    index = BundleIndex.load(bundle, resident=False)
    has_table = neighbours.write(
        index.searcher, index.vectors, index.products, bundle, most_items=config.neighbour_items
    )
    asked, asked_vectors = _golden(items, vectors, queries, query_vectors, config)
    photos = write_golden(
        bundle,
        index,
        asked,
        asked_vectors,
        k=config.golden_k,
        images=config.golden_images,
    )
    files = list_files(bundle)
    now = datetime.now(UTC)
    held_out = tuned.held_out
    manifest = Manifest(
        version=f"{now:%Y%m%d-%H%M%S}-{content_digest(files)[:8]}",
        created=now.isoformat(timespec="seconds"),
        mode=mode,
        items=len(items),
        embedding_dim=card.embedding_dim,
        encoder_digest=card.digest,
        taxonomy_digest=sha256_file(bundle / TAXONOMY_FILE),
        index={
            **tuned.searcher.parameters.to_json(),
            "recall_target": config.recall_target,
            "recall_at": config.recall_at,
            "recall": held_out.recall,
            "recall_lower": held_out.recall_lower,
            "recall_queries": tuned.queries,
            "memory_mb": held_out.memory_mb,
            "shards": len(getattr(tuned.searcher, "sizes", (0,))),
            "build_seconds": held_out.build_seconds,
            "settings_measured": len(tuned.points),
            "indexes_built": tuned.builds,
            "tuning_seconds": tuned.seconds,
            "tuning_stopped": tuned.stopped,
            "neighbour_table": has_table,
        },
        lineage={
            **lineage,
            "items_without_embedding": gathered.missing,
            "first_items_without_embedding": list(gathered.first_missing),
            "embeddings_reused": int(summary.get("reused", 0)),
            "embeddings_computed": int(summary.get("computed", 0)),
            # Another run takes the vectors over only within the same bounds on images.
            **({"image_limits": summary["image_limits"]} if "image_limits" in summary else {}),
        },
        parameters=dict(parameters),
        metrics={
            f"recall_at_{config.recall_at}": held_out.recall,
            "recall_lower": held_out.recall_lower,
            "query_p50_ms": held_out.p50_ms,
            "query_p95_ms": held_out.p95_ms,
            "query_cpu_ms": held_out.cpu_ms,
            "index_memory_mb": held_out.memory_mb,
            "golden_queries": float(len(asked)),
            "golden_images": float(photos),
        },
        files=files,
    )
    write_atomically(report, render(manifest, tuned, config))
    write_manifest(bundle, manifest)
    return manifest


def _summary(embeddings: Path, card: EncoderCard) -> dict[str, Any]:
    path = embeddings / "summary.json"
    summary = read_json(path)
    if not isinstance(summary, dict) or summary.get("encoder_digest") != card.digest:
        found = summary.get("encoder_digest") if isinstance(summary, dict) else None
        raise InputError(
            f"{path}: expected embeddings of the encoder {card.digest[:12]}, found those of "
            f"{str(found)[:12]}; vectors of two encoders cannot be compared"
        )
    return summary


def _queries(checked: Path, embeddings: Path, card: EncoderCard) -> tuple[list[Query], Vectors]:
    directory = embeddings / "queries"
    if not any(directory.glob("*.parquet")):
        return [], np.empty((0, card.embedding_dim), np.float32)
    queries = read_queries(checked / QUERIES_FILE)
    embedded = _read(directory, card)
    rows = _rows(embedded, {query.query_id: query.content_hash for query in queries}, "queries")
    kept = [query for query in queries if query.query_id in rows]
    return kept, embedded.vectors[[rows[query.query_id] for query in kept]]


def _read(directory: Path, card: EncoderCard) -> Embeddings:
    embedded = embedding_files.read(directory)
    if embedded.vectors.shape[1] != card.embedding_dim:
        raise InputError(
            f"{directory}: expected {card.embedding_dim} dimensions as the encoder says, found "
            f"{embedded.vectors.shape[1]}"
        )
    if len(embedded):
        check_vectors(embedded.vectors, embedded.ids, source=str(directory))
    return embedded


def _rows(embedded: Embeddings, hashes: dict[str, str], kind: str) -> dict[str, int]:
    """Returns id -> row, after checking that the embeddings are of this very catalog."""
    for key, content_hash in zip(embedded.ids, embedded.content_hashes, strict=True):
        if hashes.get(key) != content_hash:
            raise InputError(
                f"embeddings of {kind}: {key!r} is not in the checked catalog with this content; "
                "the embeddings were made from another catalog"
            )
    return {key: row for row, key in enumerate(embedded.ids)}


def _golden(
    items: Sequence[Item],
    vectors: Vectors,
    queries: list[Query],
    query_vectors: Vectors,
    config: IndexConfig,
) -> tuple[list[Query] | list[Item], Vectors]:
    """Returns what to ask as golden queries: photos where there are any, else catalog images."""
    rng = np.random.default_rng(config.seed)
    if queries:
        rows = np.sort(rng.permutation(len(queries))[: config.golden_queries])
        return [queries[row] for row in rows], query_vectors[rows]
    rows = np.sort(rng.permutation(len(items))[: config.golden_queries])
    return [items[int(row)] for row in rows], vectors[rows]


def _curve(tuned: Tuned, config: IndexConfig) -> dict[str, Any]:
    return {
        "recall_target": config.recall_target,
        "recall_at": config.recall_at,
        "points": [point.to_json() for point in tuned.points],
        "chosen": tuned.chosen,
        "held_out": {"queries": tuned.queries, **tuned.held_out.to_json()},
        "builds": tuned.builds,
        "seconds": tuned.seconds,
        "stopped": tuned.stopped,
    }
