"""From the pipeline's parameters and artifacts to the training functions."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from components.contracts.catalog import TAXONOMY_FILE
from components.contracts.errors import InputError
from components.registry.registry import Registry
from components.train.backend_config import BackendConfig
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
    backend: str,
    backend_options: str,
    **settings: Any,
) -> dict[str, float]:
    """Trains the encoder, or takes the live one over in mode reuse.

    Returns:
        The figures to show: loss and accuracies of the last epoch.

    Raises:
        InputError: A parameter cannot be used.
    """
    config = TrainConfig.from_mapping(settings)
    place = backend_config(backend, backend_options)
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
            backend=place,
        )


def backend_config(backend: str, options: str) -> BackendConfig:
    """Returns where to train.

    Args:
        backend: local, tfjob or vertex.
        options: The other fields of `BackendConfig`, as a JSON object; may be empty.

    Raises:
        InputError: The options are not a JSON object, or cannot be used.
    """
    try:
        values = json.loads(options or "{}")
    except ValueError as error:
        raise InputError(f"train.backend_options: expected a JSON object ({error})") from None
    if not isinstance(values, dict):
        raise InputError(
            f"train.backend_options: expected a JSON object, received {type(values).__name__}"
        )
    return BackendConfig.from_mapping({**values, "backend": backend})
