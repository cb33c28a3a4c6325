"""From the pipeline's parameters and artifacts to the training functions."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from components.contracts.catalog import TAXONOMY_FILE
from components.registry.registry import Registry
from components.train.backend_config import BackendConfig
from components.train.config import TrainConfig, json_object, read_options
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
    options: str,
    **settings: Any,
) -> dict[str, float]:
    """Trains the encoder, or takes the live one over in mode reuse.

    Args:
        checked: Directory of the checked catalog.
        examples: Directory of the training examples.
        transform_graph: Directory of the preprocessing graph.
        registry: Registry that holds the live encoder.
        incumbent: The live version, or none.
        mode: scratch, warm or reuse.
        encoder: Directory to write the encoder to.
        checkpoints: Directory of the checkpoints.
        report: HTML file to write.
        backend: local, tfjob or vertex.
        backend_options: The other fields of `BackendConfig`, a JSON object; may be empty.
        options: The fields of `TrainConfig` that are not in `settings`, a JSON object; may be
            empty.
        **settings: The fields of `TrainConfig` that have a parameter each.

    Returns:
        The figures to show: loss and accuracies of the last epoch.

    Raises:
        InputError: A parameter cannot be used.
    """
    further = read_options(options, taken=settings)
    config = TrainConfig.from_mapping({**settings, **further})
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
    values = json_object(options, "train.backend_options")
    return BackendConfig.from_mapping({**values, "backend": backend})
