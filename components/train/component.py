"""The interface of the train step."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from components.contracts.container_images import TENSORFLOW


@dsl.component(base_image=TENSORFLOW, install_kfp_package=False, packages_to_install=[])
def train(
    checked: Input[Dataset],
    examples: Input[Dataset],
    transform_graph: Input[Artifact],
    registry: str,
    incumbent: str,
    mode: str,
    encoder: Output[Model],
    checkpoints: Output[Artifact],
    metrics: Output[Metrics],
    report: Output[HTML],
    depth: int = 18,
    width: int = 32,
    input_size: int = 64,
    embedding_dim: int = 128,
    epochs: int = 45,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    warmup_epochs: float = 2.0,
    weight_decay: float = 5e-4,
    label_smoothing: float = 0.1,
    logit_scale: float = 12.0,
    workers: int = 2,
    backend: str = "local",
    backend_options: str = "",
    options: str = "",
    seed: int = 0,
) -> None:
    """Trains the encoder: a ResNet from scratch on the taxonomy, by several workers at once.

    The result maps image bytes to a unit vector, with the preprocessing graph inside. Mode warm
    goes on from the live encoder; mode reuse takes the live encoder as it is.

    Args:
        checked: The checked catalog, for its taxonomy.
        examples: The training examples.
        transform_graph: The preprocessing graph.
        registry: Registry that holds the live encoder.
        incumbent: The live version, or none.
        mode: scratch, warm or reuse.
        encoder: The encoder with its model card.
        checkpoints: Where a restarted step goes on from.
        metrics: Loss and accuracy by level of the taxonomy.
        report: Curves of loss and accuracy.
        depth: Layers of the ResNet: 18, 34 or 50; 10 for trials.
        width: Channels of the first stage.
        input_size: Side of the image that the encoder sees, in pixels.
        embedding_dim: Length of the embedding.
        epochs: Passes over the examples; 0 leaves the random initial weights.
        batch_size: Examples a step, over all workers together.
        learning_rate: Peak learning rate.
        warmup_epochs: Epochs of linear warm-up.
        weight_decay: L2 penalty on the kernels.
        label_smoothing: Probability spread over all classes, 0 to below 1.
        logit_scale: Factor on cosines before the softmax.
        workers: Training processes.
        backend: Where they run: local (in this step), tfjob (Kubeflow's Training Operator) or
            vertex (a CustomJob).
        backend_options: What a remote backend needs, as JSON: staging, image and more, see
            docs/training.md.
        options: Further fields of the training's config, as JSON, such as {"margin": 0.1};
            lookalike parameters train lists them.
        seed: Seed of weights, order and augmentation.
    """
    from components.train.step import run

    figures = run(
        checked.path, examples.path, transform_graph.path, registry, incumbent, mode,
        encoder.path, checkpoints.path, report.path,
        depth=depth, width=width, input_size=input_size, embedding_dim=embedding_dim,
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        warmup_epochs=warmup_epochs, weight_decay=weight_decay, label_smoothing=label_smoothing,
        logit_scale=logit_scale, workers=workers, backend=backend,
        backend_options=backend_options, options=options, seed=seed,
    )  # fmt: skip
    for name, value in figures.items():
        metrics.log_metric(name, value)
