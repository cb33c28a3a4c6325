"""From the pipeline's parameters and artifacts to the training functions."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from components.contracts.catalog import TAXONOMY_FILE
from components.registry.registry import Registry
from components.train.config import TrainConfig
from components.train.train import train_encoder


def run(
    checked: str,
    examples: str,
    transform_graph: str,
    registry: str,
    incumbent: str,
    mode: str,
    encoder: str,
    checkpoints: str,
    report: str,
    **settings: Any,
) -> dict[str, float]:
    """Trains the encoder, or takes the live one over in mode reuse.

    Returns:
        The figures to show: loss and accuracies of the last epoch.
    """
    config = TrainConfig.from_mapping(settings)
    with tempfile.TemporaryDirectory() as scratch:
        live = None
        if mode != "scratch":
            bundle = Path(scratch) / "live"
            Registry.open(registry).download_bundle(incumbent, bundle, paths=("encoder/",))
            live = bundle / "encoder"
        return train_encoder(
            examples=Path(examples),
            transform_graph=Path(transform_graph),
            taxonomy=Path(checked) / TAXONOMY_FILE,
            mode=mode,
            incumbent_encoder=live,
            config=config,
            encoder=Path(encoder),
            checkpoints=Path(checkpoints),
            report=Path(report),
        )
