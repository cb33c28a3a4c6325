"""The interface of the index step."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Model, Output

from components.contracts.container_images import SCANN


@dsl.component(base_image=SCANN, install_kfp_package=False, packages_to_install=[])
def index(
    checked: Input[Dataset],
    encoder: Input[Model],
    embeddings: Input[Dataset],
    registry: str,
    incumbent: str,
    mode: str,
    bundle: Output[Model],
    report: Output[HTML],
    backend: str = "auto",
    recall_target: float = 0.99,
    seed: int = 17,
) -> NamedTuple("Outputs", [("version", str), ("digest", str)]):  # type: ignore[valid-type]
    """Builds the ScaNN index, puts the bundle around it, and publishes the bundle.

    A published bundle is only a candidate: nothing points to it until promote moves the channel.

    Args:
        checked: The checked catalog.
        encoder: The encoder that made the embeddings.
        embeddings: Vectors of items and photos.
        registry: Registry to publish to.
        incumbent: The live version, or none; recorded as lineage.
        mode: scratch, warm or reuse; recorded as lineage.
        bundle: The candidate: one version of all that changes together.
        report: The recall and latency curve with the chosen point.
        backend: auto chooses by size: brute_force below 20,000 items, ah below 100,000, else
            tree_ah.
        recall_target: Smallest recall@10 against exact search, 0 to 1.
        seed: Seed of the partitioning and of the tuning's queries.
    """
    from components.index.step import run

    return run(
        checked.path, encoder.path, embeddings.path, registry, incumbent, mode,
        bundle.path, report.path, recall_target=recall_target, seed=seed,
        backend=backend,
    )  # fmt: skip
