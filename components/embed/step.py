"""From the pipeline's parameters and artifacts to the embedding functions."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from components.contracts import incumbent as incumbents
from components.contracts.beam_options import split_beam_options
from components.embed.config import EmbedConfig
from components.embed.embed import embed_catalog
from components.registry.registry import Registry


def run(
    checked: str,
    encoder: str,
    registry: str,
    incumbent: str,
    embeddings: str,
    report: str,
    *,
    batch_size: int,
    max_reject_share: float,
    beam_options: str,
) -> dict[str, float]:
    """Embeds items and photos.

    Returns:
        The figures to show: how many were reused and computed, and at what rate.
    """
    # Beam remarks on each missing type hint, dozens of lines that say nothing about the run.
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        live = None
        if incumbent != incumbents.NONE:
            live = Registry.open(registry).download_bundle(incumbent, Path(scratch) / "live")
        return embed_catalog(
            checked=Path(checked),
            encoder=Path(encoder),
            incumbent_bundle=live,
            config=EmbedConfig(
                batch_size=batch_size,
                max_reject_share=max_reject_share,
                beam_options=split_beam_options(beam_options, "embed.beam_options"),
            ),
            output=Path(embeddings),
            report=Path(report),
            store=Registry.open(registry).store,
        )
