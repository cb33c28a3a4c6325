"""The interface of the embed step."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components.contracts.container_images import TENSORFLOW


@dsl.component(base_image=TENSORFLOW, install_kfp_package=False, packages_to_install=[])
def embed(
    checked: Input[Dataset],
    encoder: Input[Model],
    registry: str,
    incumbent: str,
    embeddings: Output[Dataset],
    metrics: Output[Metrics],
    report: Output[HTML],
    batch_size: int = 64,
    max_reject_share: float = 0.02,
    beam_options: str = "",
) -> None:
    """Turns catalog images and shopper photos into unit vectors.

    What an earlier run computed with the same encoder, or the live version holds of it, is taken
    over: only new and changed images are computed, of items and of photos. A new encoder computes
    everything and says first how long that may take.

    Args:
        checked: The checked catalog.
        encoder: The encoder.
        registry: Registry that holds the live version and what earlier runs computed.
        incumbent: The live version, or none.
        embeddings: Vectors of items and photos in Parquet.
        metrics: How much was reused and computed, and at what rate.
        report: What was reused and what was new, norms, spread and drift.
        batch_size: Images a call of the encoder.
        max_reject_share: Largest share of images that cannot be embedded, 0 to 1.
        beam_options: Options for Apache Beam's runner, separated by spaces.
    """
    from components.embed.step import run

    figures = run(
        checked.path, encoder.path, registry, incumbent, embeddings.path, report.path,
        batch_size=batch_size, max_reject_share=max_reject_share, beam_options=beam_options,
    )  # fmt: skip
    for name, value in figures.items():
        metrics.log_metric(name, value)
