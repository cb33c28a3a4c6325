"""What the workers exchange in a step: their gradients, in as few and as small messages as can be.

TensorFlow's own way sends every variable's gradient as float32, in several messages, and the sums
to be logged in one more. Here everything that was computed in bfloat16 travels as bfloat16 in one
message, the rest as float32 in another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class SharedSGD(keras.optimizers.SGD):  # type: ignore[misc]
    """`keras.optimizers.SGD` whose gradients have been summed over the workers before."""

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        # Keras would sum them a second time.
        return grads_and_vars


def sum_over_workers(
    tensors: Sequence[tf.Tensor], *, short: Sequence[bool]
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Returns each tensor summed over all workers; called by every replica of a strategy.

    Args:
        tensors: float32, of any static shapes.
        short: Which of them travel, and are added, as bfloat16: 8 bits of precision.

    Returns:
        float32, in the order of `tensors`, the very same tensors where there is one worker; and
        how long that took from the moment when all of this worker's were there, in seconds, a
        float32 scalar: messages, and waiting for slower workers.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return list(tensors), tf.constant(0.0)
    with tf.control_dependencies(tensors):
        asked = tf.timestamp()
    with tf.control_dependencies([asked]):
        summed = _summed(context, tensors, short)
    with tf.control_dependencies(summed):
        seconds = tf.cast(tf.timestamp() - asked, tf.float32)
    return summed, seconds


def _summed(
    context: tf.distribute.ReplicaContext, tensors: Sequence[tf.Tensor], short: Sequence[bool]
) -> list[tf.Tensor]:
    summed: dict[int, tf.Tensor] = {}
    for chosen, dtype in ((True, tf.bfloat16), (False, tf.float32)):
        rows = [row for row, travels_short in enumerate(short) if travels_short is chosen]
        if not rows:
            continue
        flat = tf.concat([tf.reshape(tf.cast(tensors[row], dtype), [-1]) for row in rows], axis=0)
        flat = context.all_reduce(tf.distribute.ReduceOp.SUM, flat)
        parts = tf.split(flat, [tensors[row].shape.num_elements() for row in rows])
        for row, part in zip(rows, parts, strict=True):
            summed[row] = tf.cast(tf.reshape(part, tensors[row].shape), tf.float32)
    return [summed[row] for row in range(len(tensors))]
