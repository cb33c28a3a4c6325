"""What the workers exchange in a step: their gradients.

On one machine they lie in memory that all workers map. Elsewhere they travel: TensorFlow's own way
sends every variable's gradient as float32, in several messages. Here they go in the precision that
the convolutions compute in, in two messages: what the backward pass has done first, which is most
of the weights, is on its way while it still works on the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.train.shared_memory import SharedSums

# The share of all numbers that may travel last, when nothing is left to compute meanwhile.
_LATE_SHARE = 0.1

FiguresOverWorkers = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


class SharedSGD(keras.optimizers.SGD):  # type: ignore[misc]
    """`keras.optimizers.SGD` whose gradients have been summed over the workers before."""

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        # Keras would sum them a second time.
        return grads_and_vars

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Takes Keras's step in one operation, where Keras takes eight that read and write all.

        Args:
            gradient: float32, of the variable's shape.
            variable: Is changed in place.
            learning_rate: A scalar.
        """
        if not self.momentum:
            super().update_step(gradient, variable, learning_rate)
            return
        velocity = self.momentums[self._get_variable_index(variable)].value
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=velocity.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=gradient,
            momentum=tf.constant(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )


def sum_over_workers(
    gradients: Sequence[tf.Tensor],
    flags: tf.Tensor,
    *,
    dtype: tf.DType,
    memory: SharedSums | None = None,
) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
    """Returns each gradient summed over all workers; called by every replica of a strategy.

    Args:
        gradients: float32, of any static shapes, in the order of the forward pass.
        flags: float32 `[n]`, each 0 or 1: what a replica has to tell the others in this step.
        dtype: What all of it travels, and is added, as, where it is told by messages.
        memory: What the workers share, for these gradients and then the flags; None where they
            are not on one machine.

    Returns:
        The gradients, float32, in the same order, the very same tensors where there is one
        replica; how many replicas raised each flag, float32 `[n]`; and how long the exchange took
        from the moment when all of this replica's gradients were there, in seconds, a float32
        scalar: messages, and waiting for slower workers.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return list(gradients), flags, tf.constant(0.0)
    with tf.control_dependencies([*gradients, flags]):
        asked = tf.timestamp()
    if memory is None:
        split = late_gradients([gradient.shape.num_elements() for gradient in gradients])
        early = _summed(context, gradients[split:], dtype)
        *late, flags = _summed(context, [*gradients[:split], flags], dtype)
        summed = [*late, *early]
    else:
        *summed, flags = _summed_in(memory, [*gradients, flags])
    with tf.control_dependencies([*summed, flags]):
        seconds = tf.cast(tf.timestamp() - asked, tf.float32)
    return summed, flags, seconds


def late_gradients(sizes: Sequence[int]) -> int:
    """Returns how many of the first gradients, the last to be computed, make the second message.

    Args:
        sizes: How many numbers each gradient has, in the order of the forward pass.

    Returns:
        As many as hold a tenth of all numbers at most.
    """
    room, taken = _LATE_SHARE * sum(sizes), 0
    for number, size in enumerate(sizes):
        taken += size
        if taken > room:
            return number
    return 0


def _summed_in(memory: SharedSums, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    sums = tf.numpy_function(memory, tensors, [tf.float32] * len(tensors))
    return [tf.ensure_shape(found, one.shape) for found, one in zip(sums, tensors, strict=True)]


def _summed(
    context: tf.distribute.ReplicaContext, tensors: Sequence[tf.Tensor], dtype: tf.DType
) -> list[tf.Tensor]:
    flat = tf.concat([tf.reshape(tf.cast(one, dtype), [-1]) for one in tensors], axis=0)
    flat = tf.cast(context.all_reduce(tf.distribute.ReduceOp.SUM, flat), tf.float32)
    parts = tf.split(flat, [one.shape.num_elements() for one in tensors])
    return [tf.reshape(part, one.shape) for part, one in zip(parts, tensors, strict=True)]


def figures_over_workers(strategy: tf.distribute.Strategy) -> FiguresOverWorkers:
    """Returns what sums up figures of all workers; each of them has to call it.

    Args:
        strategy: How the workers are joined.

    Returns:
        A function from this worker's figures, float64 `[n]`, to the sums over all workers.
    """
    if strategy.num_replicas_in_sync == 1:
        return lambda own: own
    here = len(strategy.extended.worker_devices)

    def replica(own: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        # A worker's first replica brings all: shares of a third do not add up to a whole.
        first = tf.cast(context.replica_id_in_sync_group % here == 0, own.dtype)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, own * first)

    @tf.function  # type: ignore[untyped-decorator]
    def over_replicas(own: tf.Tensor) -> tf.Tensor:
        sums = strategy.run(replica, args=(own,))
        return strategy.experimental_local_results(sums)[0]

    def over_workers(own: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        total: npt.NDArray[np.float64] = over_replicas(tf.constant(own)).numpy()
        return total

    return over_workers
