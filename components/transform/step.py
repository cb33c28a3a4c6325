"""From the pipeline's parameters and artifacts to the transform functions."""

from __future__ import annotations

import logging
from pathlib import Path

from components.contracts.beam_options import split_beam_options
from components.transform.config import TransformConfig
from components.transform.transform import transform_examples


def run(
    checked: str,
    mode: str,
    registry: str,
    examples: str,
    transform_graph: str,
    report: str,
    *,
    stored_size: int,
    unseen_fraction: float,
    min_class_images: int,
    max_reject_share: float,
    beam_options: str,
) -> None:
    """Transforms the checked images into examples."""
    # Beam remarks on each missing type hint, dozens of lines that say nothing about the run.
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    transform_examples(
        checked=Path(checked),
        mode=mode,
        config=TransformConfig(
            stored_size=stored_size,
            unseen_fraction=unseen_fraction,
            min_class_images=min_class_images,
            max_reject_share=max_reject_share,
            beam_options=split_beam_options(beam_options, "transform.beam_options"),
        ),
        examples=Path(examples),
        transform_graph=Path(transform_graph),
        report=Path(report),
        registry=registry,
    )
