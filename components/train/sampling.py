"""Which examples meet in a batch, and how often each is shown."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

# Copies of one example are drawn apart by about as many others.
_MIXED = 1024


def balanced_repeats(counts: npt.NDArray[np.int64], balance: float) -> npt.NDArray[np.float32]:
    """Returns how often the examples of each class are shown in an epoch.

    With `n_c` examples of class c the share of an epoch that c gets is proportional to
    `n_c^(1 - balance)`; the length of an epoch stays.

    Args:
        counts: Examples a class, int64 `[classes]`.
        balance: 0 as they come, 1 all classes alike.

    Returns:
        float32 `[classes]`; 1 for a class without examples.
    """
    known = counts > 0
    wanted = np.where(known, np.maximum(counts, 1).astype(float) ** (1 - balance), 0.0)
    if not known.any():
        return np.ones(len(counts), np.float32)
    wanted *= counts.sum() / wanted.sum()
    return np.where(known, wanted / np.maximum(counts, 1), 1.0).astype(np.float32)


def repeat_rare(
    examples: tf.data.Dataset,
    repeats: npt.NDArray[np.float32],
    *,
    seed: int,
) -> tf.data.Dataset:
    """Repeats or leaves out the examples of an endless stream as often as their class asks for.

    A share of a time is drawn anew whenever the example comes by, from its place in the stream: a
    restart draws the same, the next epoch something else, so that no example is left out for good.

    Args:
        examples: Elements of something, rows int32 `[levels + 1]`, item id.
        repeats: float32 `[levels, classes]`, departments first; an example goes by the deepest
            class that is known of it, one without any is shown once.
        seed: Seed of the draw.

    Returns:
        Elements of the same kind, mixed so that copies do not follow each other.
    """
    # One row more, at index -1: of an example without any class.
    table = tf.pad(tf.constant(repeats), [[0, 1], [0, 0]], constant_values=1.0)

    def times(
        number: tf.Tensor, example: tuple[tf.Tensor, tf.Tensor, tf.Tensor]
    ) -> tf.data.Dataset:
        rows = example[1][:-1]
        level = tf.reduce_sum(tf.cast(rows >= 0, tf.int32)) - 1
        row = tf.where(level >= 0, rows[level], 0)
        wanted = table[level, row]
        draw = tf.random.stateless_uniform([], tf.stack([tf.constant(seed, tf.int64), number]))
        whole = tf.floor(wanted)
        count = tf.cast(whole, tf.int64) + tf.cast(draw < wanted - whole, tf.int64)
        return tf.data.Dataset.from_tensors(example).repeat(count)

    repeated = examples.enumerate().flat_map(times)
    return repeated.shuffle(_MIXED, seed=seed + 3)


def bring_together(examples: tf.data.Dataset, views: int) -> tf.data.Dataset:
    """Reorders an endless stream so that `views` examples of one product follow each other.

    A product's examples wait until there are enough of them; none is lost.

    Args:
        examples: Elements of cut-out, rows int32 `[levels + 1]` with the product last, item id.
        views: How many.

    Returns:
        Elements of the same kind.
    """
    grouped = examples.group_by_window(
        key_func=lambda _cutout, rows, _item: tf.cast(rows[-1], tf.int64),
        reduce_func=lambda _key, window: window.batch(views),
        window_size=views,
    )
    return grouped.unbatch()
