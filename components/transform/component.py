"""The interface of the transform step."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Output

from components.contracts.container_images import TENSORFLOW


@dsl.component(base_image=TENSORFLOW, install_kfp_package=False, packages_to_install=[])
def transform(
    checked: Input[Dataset],
    mode: str,
    registry: str,
    examples: Output[Dataset],
    transform_graph: Output[Artifact],
    report: Output[HTML],
    stored_size: int = 72,
    unseen_fraction: float = 0.1,
    min_class_images: int = 2,
    max_reject_share: float = 0.02,
    beam_options: str = "",
) -> None:
    """Turns checked images into training examples with Apache Beam and TensorFlow Transform.

    Only images that no earlier run has decoded are decoded; what hangs on all of them, such as the
    statistics in the graph, is made anew. What cannot be decoded goes to dead letters. A tenth of
    the products is never trained on. Shopper photos are never read here. In mode reuse nothing is
    trained and this step rests.

    Args:
        checked: The checked catalog.
        mode: scratch, warm or reuse.
        registry: Registry, where decoded images are kept for the next run.
        examples: Decoded uint8 examples in sharded TFRecords, with statistics and dead letters.
        transform_graph: The preprocessing graph, used again in training, embedding and serving.
        report: A sample of transformed images, class balance, dead letters.
        stored_size: Side of a stored image, in pixels.
        unseen_fraction: Share of products kept out of training, 0 to below 1.
        min_class_images: Fewest training images of a class; a rarer leaf is trained as an ancestor.
        max_reject_share: Largest share of images that cannot be decoded, 0 to 1.
        beam_options: Options for Apache Beam's runner, separated by spaces.
    """
    from components.transform.step import run

    run(
        checked.path, mode, registry, examples.path, transform_graph.path, report.path,
        stored_size=stored_size, unseen_fraction=unseen_fraction,
        min_class_images=min_class_images,
        max_reject_share=max_reject_share, beam_options=beam_options,
    )  # fmt: skip
