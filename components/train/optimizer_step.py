"""One optimiser step under a distribution strategy, and what the workers tell each other in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.train.config import TrainConfig
from components.train.data import Views
from components.train.exchange import SharedSGD, sum_over_workers
from components.train.foreground import ForegroundHead, foreground_loss, with_features
from components.train.objective import Objective
from components.train.precision import resolve_precision
from components.train.shared_memory import SharedSums

# What a replica tells the others beside its gradients: that it is broken, that it was told to stop.
FLAGS = 2


@dataclass(frozen=True)
class StepResult:
    """What a step came to.

    Attributes:
        sums: Over this worker's examples: the loss, and for each head how many first guesses were
            right, and of how many; float32 `[1 + 2 heads]`.
        broken_here: Whether a loss or a gradient of this worker is not a finite number.
        broken: Whether that is so of any worker; all know it after the same step.
        stop: Whether any worker was told to stop; all know it after the same step.
        exchange_seconds: How long this worker waited for the others' gradients.
    """

    sums: npt.NDArray[np.float32]
    broken_here: bool
    broken: bool
    stop: bool
    exchange_seconds: float


Step = Callable[[Views, tf.Tensor, float, bool], StepResult]


def make_step(
    *,
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
    network: keras.Model,
    variables: Sequence[keras.Variable],
    optimizer: SharedSGD,
    objective: Objective,
    foreground: ForegroundHead | None = None,
    memory: SharedSums | None = None,
) -> Step:
    """Builds the step.

    Args:
        config: The parameters.
        strategy: How the workers are joined.
        network: What `build_resnet` returned.
        variables: What is trained, in the order of the forward pass.
        optimizer: Was built for these variables.
        objective: What is minimised.
        foreground: Head of the further loss that `config.foreground_weight` asks for.
        memory: What the workers share, for the variables' gradients and two flags; None where they
            are not on one machine.

    Returns:
        A function of a batch's views, its rows, the learning rate, and whether this worker was
        told to stop.
    """
    features = with_features(network)
    decayed = [number for number, variable in enumerate(variables) if len(variable.shape) > 1]
    # Between the GPUs of one process TensorFlow sums no bfloat16 (NcclAllReduce).
    on_gpus = bool(tf.config.list_physical_devices("GPU"))
    travels_as = tf.float32 if on_gpus else tf.as_dtype(resolve_precision(config.precision))

    def replica_step(
        views: Views, rows: tf.Tensor, rate: tf.Tensor, stop: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        catalog = None
        if config.catalog_weight:
            # Nearly as an index of this very network would hold them (the mirror image would cost
            # another pass); outside of the tape, so that the training images come to the catalog
            # views and not the other way round.
            catalog = network(tf.cast(views.catalog, tf.float32), training=False)
        with tf.GradientTape() as tape:
            vectors, maps = features(tf.cast(views.images, tf.float32), training=True)
            loss, counts = objective(vectors, rows, catalog)
            if foreground is not None:
                share = tf.cast(views.share, tf.float32) / 255.0
                told = foreground_loss(foreground(maps), share)
                loss += config.foreground_weight * tf.reduce_sum(told)
            # Gradients are summed over the replicas, so each divides by the global batch.
            mean = loss / config.batch_size
        gradients = tape.gradient(mean, [variable.value for variable in variables])
        # Told in the step that breaks: the next one would blame another batch.
        sizes = tf.stack([loss, *(tf.nn.l2_loss(one) for one in gradients)])
        broken = 1.0 - tf.cast(tf.reduce_all(tf.math.is_finite(sizes)), tf.float32)
        gradients, flags, seconds = sum_over_workers(
            gradients, tf.stack([broken, stop]), dtype=travels_as, memory=memory
        )
        kernels = [tf.convert_to_tensor(variables[number].value) for number in decayed]
        shrinking = _decayed(
            [gradients[number] for number in decayed], kernels, config.weight_decay
        )
        for number, gradient in zip(decayed, shrinking, strict=True):
            gradients[number] = gradient
        optimizer.learning_rate.assign(rate)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return tf.concat([loss[None], counts], axis=0), broken, flags, seconds

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def train_step(
        views: Views, rows: tf.Tensor, rate: tf.Tensor, stop: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        results = strategy.run(replica_step, args=(views, rows, rate, stop))
        sums, broken, flags, seconds = (
            strategy.experimental_local_results(result) for result in results
        )
        # The flags are the same everywhere; the rest is this worker's own.
        return tf.add_n(sums), tf.add_n(broken), flags[0], seconds[0]

    def step(views: Views, rows: tf.Tensor, rate: float, stop: bool) -> StepResult:
        results: Any = train_step(
            views, rows, tf.constant(rate, tf.float32), tf.constant(float(stop), tf.float32)
        )
        sums, broken_here, (broken, told), seconds = (result.numpy() for result in results)
        return StepResult(
            sums=sums,
            broken_here=bool(broken_here),
            broken=bool(broken),
            stop=bool(told),
            exchange_seconds=float(seconds),
        )

    return step


@tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]
def _decayed(
    gradients: Sequence[tf.Tensor], weights: Sequence[tf.Tensor], decay: float
) -> list[tf.Tensor]:
    """Returns the gradients with those of the L2 penalty, in one pass over the numbers."""
    return [gradient + decay * weight for gradient, weight in zip(gradients, weights, strict=True)]
