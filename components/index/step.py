"""From the pipeline's parameters and artifacts to the index functions."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from components.contracts.bundle import MANIFEST_FILE
from components.contracts.catalog import SUMMARY_FILE
from components.contracts.container_images import VERSION
from components.contracts.encoder import ENCODER_FILE
from components.contracts.files import read_json, sha256_file
from components.index.build import build_index
from components.index.config import AUTO, IndexConfig
from components.registry.registry import Registry

# Set by whoever runs the step, as the local runner does; an argument would spoil the step's cache.
RUN_VARIABLE = "LOOKALIKE_RUN"


def run(
    checked: str,
    encoder: str,
    embeddings: str,
    registry: str,
    incumbent: str,
    mode: str,
    bundle: str,
    report: str,
    *,
    recall_target: float,
    seed: int,
    backend: str = AUTO,
    tuning_seconds: float = IndexConfig.tuning_seconds,
    memory_limit_mb: int = IndexConfig.memory_limit_mb,
    shard_items: int = IndexConfig.shard_items,
) -> tuple[str, str]:
    """Builds the bundle and publishes it as a candidate.

    Returns:
        The bundle's version and its manifest's SHA-256.
    """
    config = IndexConfig(
        backend=backend,
        recall_target=recall_target,
        tuning_seconds=tuning_seconds,
        memory_limit_mb=memory_limit_mb,
        shard_items=shard_items,
        seed=seed,
    )
    card = read_json(Path(encoder) / ENCODER_FILE)
    summary = read_json(Path(checked) / SUMMARY_FILE)
    directory = Path(bundle)
    manifest = build_index(
        checked=Path(checked),
        encoder=Path(encoder),
        embeddings=Path(embeddings),
        mode=mode,
        lineage={
            "incumbent": incumbent,
            "code": VERSION,
            "training_code": card.get("code", ""),
            "catalog": summary.get("sources", {}),
            "run": os.environ.get(RUN_VARIABLE, ""),
        },
        parameters={"index": asdict(config), "train": card.get("parameters", {})},
        config=config,
        bundle=directory,
        report=Path(report),
    )
    Registry.open(registry).publish_bundle(directory)
    return manifest.version, sha256_file(directory / MANIFEST_FILE)
