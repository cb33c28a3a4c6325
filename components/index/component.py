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
    recall_target: float = 0.98,
    tuning_seconds: float = 600.0,
    memory_limit_mb: int = 0,
    shard_items: int = 2_000_000,
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
        report: The frontier of recall, time and memory with the chosen point.
        backend: auto searches exactly (brute_force) below 20,000 items, and above tries what is
            fastest: a quantised scan (ah) or one of the nearest partitions (tree_ah).
        recall_target: What recall@10 against exact search must reach with 95% confidence, 0 to 1.
        tuning_seconds: No further index is built for comparison when it would end after so many
            seconds.
        memory_limit_mb: What the searcher may keep in memory, in units of 1e6 bytes; 0 for no
            limit.
        shard_items: A larger catalog is built in shards of at most so many items, with the memory
            for one of them.
        seed: Seed of the partitioning and of the tuning's queries.
    """
    from components.index.step import run

    return run(
        checked.path, encoder.path, embeddings.path, registry, incumbent, mode,
        bundle.path, report.path, recall_target=recall_target, seed=seed,
        backend=backend, tuning_seconds=tuning_seconds, memory_limit_mb=memory_limit_mb,
        shard_items=shard_items,
    )  # fmt: skip
