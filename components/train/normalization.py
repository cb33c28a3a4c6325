"""Batch normalisation whose statistics are those of the whole batch, over all workers if wanted."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class SyncBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """`keras.layers.BatchNormalization(synchronized=True)` with one all-reduce instead of three.

    Every replica must bring the same number of values, as the training loop's fixed batches do.
    Moments are taken in float32 also where activations are bfloat16: in eight bits of mantissa
    `E[x^2] - E[x]^2` has no digits left.
    """

    def __init__(self, **options: Any) -> None:
        """Takes the options of `keras.layers.BatchNormalization`.

        `synchronized=False` takes the moments of each worker's own part of the batch, and needs no
        exchange between the workers.
        """
        super().__init__(**{"synchronized": True, **options})

    def _moments(self, inputs: tf.Tensor, mask: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        if mask is not None:
            raise NotImplementedError("masked inputs have no synchronised moments here")
        axes = self._reduction_axes
        values = tf.cast(inputs, tf.float32)
        local = tf.stack([tf.reduce_mean(values, axes), tf.reduce_mean(tf.square(values), axes)])
        context = tf.distribute.get_replica_context()
        if self.synchronized and context is not None and context.num_replicas_in_sync > 1:
            local = context.all_reduce(tf.distribute.ReduceOp.MEAN, local)
        mean, mean_square = local[0], local[1]
        variance = tf.maximum(mean_square - tf.square(mean), 0.0)
        return tf.cast(mean, inputs.dtype), tf.cast(variance, inputs.dtype)
