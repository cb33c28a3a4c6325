"""Which examples meet in a batch, and how often each is shown."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf


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


def repeat_by_leaf(
    examples: tf.data.Dataset, repeats: npt.NDArray[np.float32], *, seed: int
) -> tf.data.Dataset:
    """Repeats or leaves out examples so that each leaf is shown as often as `repeats` says.

    A share of a time is drawn from the item's id, so that it is the same in every epoch and after
    a restart. An example without a leaf is shown once.

    Args:
        examples: Elements of cut-out, rows int32 `[levels + 1]`, item id.
        repeats: float32 `[leaves]`.
        seed: Seed of the draw.

    Returns:
        Elements of the same kind.
    """
    table = tf.constant(repeats)

    def times(cutout: tf.Tensor, rows: tf.Tensor, item: tf.Tensor) -> tf.data.Dataset:
        leaf = rows[-2]
        wanted = tf.where(leaf >= 0, tf.gather(table, tf.maximum(leaf, 0)), 1.0)
        number = tf.strings.to_hash_bucket_strong(item, 1 << 24, [seed, 2])
        draw = tf.cast(number, tf.float32) / float(1 << 24)
        whole = tf.floor(wanted)
        count = tf.cast(whole, tf.int64) + tf.cast(draw < wanted - whole, tf.int64)
        return tf.data.Dataset.from_tensors((cutout, rows, item)).repeat(count)

    return examples.flat_map(times)


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
