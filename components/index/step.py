"""From the pipeline's parameters and artifacts to the index functions."""

from __future__ import annotations

from pathlib import Path

from components.contracts.bundle import MANIFEST_FILE
from components.contracts.container_images import VERSION
from components.contracts.files import sha256_file
from components.index.build import build_index
from components.index.config import IndexConfig
from components.registry.registry import Registry


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
) -> tuple[str, str]:
    """Builds the bundle and publishes it as a candidate.

    Returns:
        The bundle's version and its manifest's SHA-256.
    """
    parameters = {"index.recall_target": recall_target, "index.seed": seed}
    directory = Path(bundle)
    manifest = build_index(
        checked=Path(checked),
        encoder=Path(encoder),
        embeddings=Path(embeddings),
        mode=mode,
        lineage={"incumbent": incumbent, "code": VERSION},
        parameters=parameters,
        config=IndexConfig(recall_target=recall_target, seed=seed),
        bundle=directory,
        report=Path(report),
    )
    Registry.open(registry).publish_bundle(directory)
    return manifest.version, sha256_file(directory / MANIFEST_FILE)
