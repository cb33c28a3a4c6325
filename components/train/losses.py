"""The training loss: cross-entropy on scaled cosines, masked where the label is unknown."""

from __future__ import annotations

import tensorflow as tf


def masked_cross_entropy(
    cosines: tf.Tensor, labels: tf.Tensor, *, scale: float, smoothing: float
) -> tf.Tensor:
    """Returns the smoothed cross-entropy of each example, zero where its label is unknown.

    With `C` classes, cosines `c`, scale `s`, smoothing `e` and label `y` the targets are
    `q_j = (1 - e) [j = y] + e / C` (Szegedy et al., 2016) and the loss is
    `-sum_j q_j log softmax(s c)_j`.

    Args:
        cosines: float32 `[batch, classes]`.
        labels: int32 `[batch]`, -1 for unknown.
        scale: Factor on the cosines.
        smoothing: Probability that is spread over all classes.

    Returns:
        float32 `[batch]`.
    """
    log_probability = tf.nn.log_softmax(cosines * scale, axis=-1)
    known = labels >= 0
    picked = tf.gather(log_probability, tf.maximum(labels, 0), axis=1, batch_dims=1)
    spread = tf.reduce_mean(log_probability, axis=-1)
    loss = -(1.0 - smoothing) * picked - smoothing * spread
    return tf.where(known, loss, tf.zeros_like(loss))


def correct_and_known(cosines: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Counts right first guesses among the examples whose label is known.

    Args:
        cosines: float32 `[batch, classes]`.
        labels: int32 `[batch]`, -1 for unknown.

    Returns:
        Two float32 scalars: how many were right, how many have a label.
    """
    guess = tf.argmax(cosines, axis=-1, output_type=tf.int32)
    right = tf.reduce_sum(tf.cast(guess == labels, tf.float32))
    return right, tf.reduce_sum(tf.cast(labels >= 0, tf.float32))
