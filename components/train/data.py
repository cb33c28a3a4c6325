"""Training examples: from sharded records to augmented batches, in an order that a seed fixes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.contracts.errors import InputError
from components.contracts.files import read_json
from components.train.augment import make_augment, matte
from components.train.augment_config import Augmentation
from components.train.labels import LabelSpace
from components.train.sampling import balanced_repeats, bring_together, repeat_by_leaf

_PARSE_BATCH = 64
_STREAMING_BUFFER = 4096
_ITEM_ID = {"item_id": tf.io.FixedLenFeature([], tf.string)}
_FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "background": tf.io.FixedLenFeature([], tf.string),
    "product_id": tf.io.FixedLenFeature([], tf.string),
    "label_path": tf.io.VarLenFeature(tf.int64),
}


@dataclass(frozen=True)
class Statistics:
    """What `transform` counted.

    Attributes:
        stored_size: Height and width of the stored images, in pixels.
        train: Number of training examples.
        unseen: Number of examples of products that are never trained on.
        channel_mean: Mean of red, green and blue over the training examples, in 0..255.
        channel_std: Standard deviation of the same.
    """

    stored_size: int
    train: int
    unseen: int
    channel_mean: tuple[float, ...]
    channel_std: tuple[float, ...]

    @classmethod
    def read(cls, examples: Path) -> Statistics:
        """Reads `statistics.json` of an examples directory.

        Raises:
            InputError: The file is missing, lacks a field, or counts no training example.
        """
        path = examples / "statistics.json"
        values = read_json(path)
        try:
            statistics = cls(
                stored_size=int(values["stored_size"]),
                train=int(values["train"]["examples"]),
                unseen=int(values["unseen"]["examples"]),
                channel_mean=tuple(float(value) for value in values["channel_mean"]),
                channel_std=tuple(float(value) for value in values["channel_std"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: expected the statistics that transform writes ({error!r})"
            ) from None
        if statistics.train == 0:
            raise InputError(f"{path}: expected training examples, received none; check the split")
        return statistics


def record_files(examples: Path, split: str) -> list[str]:
    """Returns the sorted record files of a split, `train` or `unseen`."""
    return sorted(str(path) for path in (examples / split).glob("*.tfrecord"))


def scan(examples: Path, split: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields product id and label path of each example, without touching pixels."""
    features = {name: _FEATURES[name] for name in ("product_id", "label_path")}
    files = record_files(examples, split)
    for batch in tf.data.TFRecordDataset(files).batch(1024):
        parsed = tf.io.parse_example(batch, features)
        paths = tf.sparse.to_dense(parsed["label_path"], default_value=-1).numpy()
        for product, path in zip(parsed["product_id"].numpy(), paths, strict=True):
            yield product.decode(), tuple(int(class_id) for class_id in path if class_id >= 0)


def leaf_repeats(examples: Path, labels: LabelSpace, balance: float) -> npt.NDArray[np.float32]:
    """Returns how often each leaf's training examples are shown, see `balanced_repeats`."""
    depth = len(labels.levels)
    found = Counter(path[-1] for _, path in scan(examples, "train") if len(path) == depth)
    counts = np.array([found[class_id] for class_id in labels.levels[-1]], np.int64)
    return balanced_repeats(counts, balance)


def stored_images(examples: Path, *, stored_size: int, count: int) -> npt.NDArray[np.uint8]:
    """Returns the first training images as they are stored, uint8 `[n, size, size, 3]`."""
    records = tf.data.TFRecordDataset(record_files(examples, "train")).batch(count)
    parsed = tf.io.parse_example(next(iter(records)), {"image": _FEATURES["image"]})
    pixels = tf.io.decode_raw(parsed["image"], tf.uint8)
    images: npt.NDArray[np.uint8] = tf.reshape(pixels, [-1, stored_size, stored_size, 3]).numpy()
    return images


class Parser:
    """Turns serialised examples into images, masks and rows of the heads."""

    def __init__(self, labels: LabelSpace, stored_size: int) -> None:
        """Makes the look-up tables."""
        self._size = stored_size
        self._levels = len(labels.levels)
        self._rows = tf.constant(labels.rows())
        keys = tf.constant(list(labels.products), tf.string)
        values = tf.range(len(labels.products), dtype=tf.int32)
        self._products = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, values), default_value=-1
        )

    def __call__(self, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Parses a batch.

        Args:
            serialized: string `[batch]`.

        Returns:
            Images uint8 `[batch, size, size, 3]`; masks uint8 `[batch, size, size]`, 255 where the
            white background is; rows int32 `[batch, levels + 1]`, the product's last, -1 unknown.
        """
        parsed = tf.io.parse_example(serialized, _FEATURES)
        size = self._size
        image = tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), [-1, size, size, 3])
        mask = tf.reshape(tf.io.decode_raw(parsed["background"], tf.uint8), [-1, size, size])
        path = tf.sparse.to_dense(parsed["label_path"], default_value=-1)
        path = tf.pad(path, [[0, 0], [0, self._levels]], constant_values=-1)[:, : self._levels]
        # Index -1 is the table's last entry, which says unknown.
        path = tf.where(path < 0, tf.cast(tf.size(self._rows) - 1, tf.int64), path)
        product = self._products.lookup(parsed["product_id"])
        rows = tf.concat([tf.gather(self._rows, path), product[:, None]], axis=1)
        return image, mask, tf.ensure_shape(rows, [None, self._levels + 1])


def training_batches(
    examples: Path,
    *,
    parser: Parser,
    statistics: Statistics,
    augmentation: Augmentation,
    input_size: int,
    batch_size: int,
    seed: int,
    first_step: int,
    shard: int,
    shards: int,
    cache_megabytes: int,
    views_per_product: int = 1,
    repeats: npt.NDArray[np.float32] | None = None,
) -> tf.data.Dataset:
    """Builds one worker's endless stream of augmented batches.

    The stream depends on the seed alone and can be entered at any step: batch `n` is the same
    whether the run got there in one go or was restarted.

    Args:
        examples: The examples directory.
        parser: Turns records into tensors.
        statistics: What `transform` counted.
        augmentation: How far images may stray.
        input_size: Height and width of the images to make.
        batch_size: Examples a batch, of this worker.
        seed: Seed of the order and of the augmentation.
        first_step: Batches to leave out at the start.
        shard: Number of this worker.
        shards: Number of workers.
        cache_megabytes: The cut-outs are kept in memory when this worker's share is smaller.
        views_per_product: Views of one product that follow each other in a batch.
        repeats: How often each leaf's examples are shown, on average; None for once each.

    Raises:
        InputError: Views of one product are to come together, and the cut-outs do not fit into
            memory.

    Returns:
        Batches of images uint8 `[batch_size, input_size, input_size, 3]`, rows int32
        `[batch_size, levels + 1]` and item ids, string `[batch_size]`.
    """
    files = record_files(examples, "train")
    records = tf.data.Dataset.from_tensor_slices(files)
    by_file = len(files) % shards == 0
    if by_file:
        records = records.shard(shards, shard)
    records = records.interleave(tf.data.TFRecordDataset, cycle_length=4)
    if not by_file:
        records = records.shard(shards, shard)

    def cut_out(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        image, mask, rows = parser(serialized)
        ids = tf.io.parse_example(serialized, _ITEM_ID)["item_id"]
        return matte(image, mask), rows, ids

    cutouts = records.batch(_PARSE_BATCH).map(cut_out).unbatch()
    share = statistics.train // shards + 1
    cached = share * statistics.stored_size**2 * 4 <= cache_megabytes * 2**20
    if cached:
        cutouts = cutouts.cache()
    if views_per_product > 1 and not cached:
        needed = share * statistics.stored_size**2 * 4 // 2**20 + 1
        raise InputError(
            f"train.views_per_product: expected 1, or cache_megabytes of at least {needed}, "
            f"received {views_per_product} and {cache_megabytes}: views are brought together in "
            "memory"
        )
    if repeats is not None:
        cutouts = repeat_by_leaf(cutouts, repeats, seed=seed)
    buffer = share if cached else min(share, _STREAMING_BUFFER)
    cutouts = cutouts.shuffle(buffer, seed=seed + 1, reshuffle_each_iteration=True).repeat()
    if views_per_product > 1:
        cutouts = bring_together(cutouts, views_per_product)
    batches = cutouts.batch(batch_size, drop_remainder=True).enumerate().skip(first_step)

    augment = make_augment(augmentation, input_size=input_size, seed=seed + input_size)
    stream = seed * shards + shard

    def finish(
        step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        cutout, rows, ids = batch
        cutout = tf.ensure_shape(
            cutout, [batch_size, statistics.stored_size, statistics.stored_size, 4]
        )
        return augment(cutout, tf.stack([tf.constant(stream, tf.int64), step])), rows, ids

    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    # The pipeline shares the worker's core with the training step it feeds.
    options.threading.private_threadpool_size = 1
    return batches.map(finish).prefetch(2).with_options(options)


def unseen_batches(examples: Path, *, parser: Parser, batch_size: int) -> tf.data.Dataset:
    """Builds one pass over the products held out, as the catalog shows them.

    Returns:
        Batches of images uint8 `[batch, stored, stored, 3]` and rows int32 `[batch, levels + 1]`.
    """
    records = tf.data.TFRecordDataset(record_files(examples, "unseen"))

    def plain(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, _, rows = parser(serialized)
        return image, rows

    return records.batch(batch_size).map(plain)
