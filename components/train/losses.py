"""The training losses: cross-entropy on scaled cosines, and contrasts between examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf


def masked_cross_entropy(
    cosines: tf.Tensor,
    labels: tf.Tensor,
    *,
    scale: float,
    smoothing: float,
    margin: float = 0.0,
    kin: Sequence[npt.NDArray[np.int32]] = (),
) -> tf.Tensor:
    """Returns the smoothed cross-entropy of each example, zero where its label is unknown.

    With `C` classes, cosines `c`, scale `s`, margin `m`, smoothing `e` and label `y` the logits are
    `z_j = s (c_j - m [j = y])` (Wang et al., CosFace, 2018), the targets
    `q_j = (1 - e) [j = y] + e u_j(y)` (Szegedy et al., 2016) and the loss is
    `-sum_j q_j log softmax(z)_j`. `u(y)` is uniform over all classes; with `kin` it is the mean of
    that and, for each of the `kin`, of the uniform distribution over the classes in y's group, so
    that a confusion within a family costs less than one across departments.

    Args:
        cosines: float32 `[batch, classes]`.
        labels: int32 `[batch]`, -1 for unknown.
        scale: Factor on the cosines.
        smoothing: Probability that is spread over other classes.
        margin: How much closer than any other an example must come to its class, in cosine.
        kin: For each level above, the group of each class, int32 `[classes]`, counted from 0.

    Returns:
        float32 `[batch]`.
    """
    known = labels >= 0
    rows = tf.maximum(labels, 0)
    if margin:
        cosines -= margin * tf.one_hot(labels, cosines.shape[-1], dtype=cosines.dtype)
    log_probability = tf.nn.log_softmax(cosines * scale, axis=-1)
    picked = tf.gather(log_probability, rows, axis=1, batch_dims=1)
    spread = tf.reduce_mean(log_probability, axis=-1)
    for groups in kin:
        members = np.zeros((len(groups), int(groups.max()) + 1), np.float32)
        members[np.arange(len(groups)), groups] = 1.0
        means = tf.matmul(log_probability, tf.constant(members / members.sum(axis=0)))
        spread += tf.gather(means, tf.gather(tf.constant(groups), rows), axis=1, batch_dims=1)
    loss = -(1.0 - smoothing) * picked - smoothing * spread / (1 + len(kin))
    return tf.where(known, loss, tf.zeros_like(loss))


def supervised_contrastive(
    vectors: tf.Tensor, labels: tf.Tensor, *, temperature: float
) -> tf.Tensor:
    """Returns the supervised contrastive loss of each example (Khosla et al., 2020, L_out).

    With unit vectors `v`, `P(i)` the other examples of i's label and `t` the temperature it is
    `-1/|P(i)| sum_{p in P(i)} log( exp(v_i.v_p / t) / sum_{a != i} exp(v_i.v_a / t) )`; zero where
    the label is unknown or `P(i)` is empty.

    Args:
        vectors: float32 `[batch, dim]` of unit norm.
        labels: int32 `[batch]`, -1 for unknown.
        temperature: What the cosines are divided by.

    Returns:
        float32 `[batch]`.
    """
    itself, alike = _itself_and_alike(labels)
    logits = tf.matmul(vectors, vectors, transpose_b=True) / temperature
    log_probability = tf.nn.log_softmax(_without(logits, itself), axis=-1)
    count = tf.reduce_sum(tf.cast(alike, tf.float32), axis=-1)
    total = tf.reduce_sum(tf.where(alike, log_probability, 0.0), axis=-1)
    return -tf.math.divide_no_nan(total, count)


def catalog_contrast(
    vectors: tf.Tensor, catalog: tf.Tensor, labels: tf.Tensor, *, temperature: float
) -> tf.Tensor:
    """Returns the loss of finding each example's own catalog view among those given.

    With unit vectors `v` of the training images, `c` of the catalog views they were made from and
    temperature `t` it is `-log( exp(v_i.c_i / t) / sum_{j in N(i)} exp(v_i.c_j / t) )` (InfoNCE,
    van den Oord et al., 2018). `N(i)` is i itself and all of other labels: other views of its
    product are neither right nor wrong. This is what is asked of an index: photos against catalog
    views, the nearest of which decides.

    Args:
        vectors: float32 `[batch, dim]` of unit norm.
        catalog: float32 `[batch, dim]` of unit norm, in the same order.
        labels: int32 `[batch]`, -1 for unknown, which is like no other.
        temperature: What the cosines are divided by.

    Returns:
        float32 `[batch]`.
    """
    _, alike = _itself_and_alike(labels)
    logits = tf.matmul(vectors, catalog, transpose_b=True) / temperature
    return -tf.linalg.diag_part(tf.nn.log_softmax(_without(logits, alike), axis=-1))


def _itself_and_alike(labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns bool `[batch, batch]` twice: an example with itself, with others of its label."""
    itself = tf.eye(tf.shape(labels)[0], dtype=tf.bool)
    return itself, (labels[:, None] == labels[None, :]) & (labels[:, None] >= 0) & ~itself


def _without(logits: tf.Tensor, left_out: tf.Tensor) -> tf.Tensor:
    """Returns logits of which some take no part in a softmax."""
    return tf.where(left_out, logits.dtype.min, logits)


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
