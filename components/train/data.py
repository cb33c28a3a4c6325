"""Training examples: from sharded records to augmented batches, in an order that a seed fixes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.contracts.errors import InputError
from components.contracts.files import read_json
from components.train.augment import make_augment, matte, on_white
from components.train.augment_config import Augmentation
from components.train.encoder import to_input
from components.train.labels import LabelSpace
from components.train.sampling import balanced_repeats, bring_together, repeat_rare

_PARSE_BATCH = 64
# Files that are read side by side: their examples mix, and disks like it.
_OPEN_FILES = 4
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


def class_repeats(examples: Path, labels: LabelSpace, balance: float) -> npt.NDArray[np.float32]:
    """Returns how often the training examples of each class are shown, see `balanced_repeats`.

    An example counts for the deepest class that is known of it, at whatever level.

    Returns:
        float32 `[levels, classes]`, departments first; a level's row is filled up with ones.
    """
    found = Counter(path[-1] for _, path in scan(examples, "train") if path)
    classes = [class_id for level in labels.levels for class_id in level]
    flat = balanced_repeats(np.array([found[one] for one in classes], np.int64), balance)
    table = np.ones((len(labels.levels), max(map(len, labels.levels), default=0)), np.float32)
    for row, part in zip(
        table, np.split(flat, np.cumsum([len(level) for level in labels.levels])), strict=False
    ):
        row[: len(part)] = part
    return table


def stored_images(examples: Path, *, stored_size: int, count: int) -> npt.NDArray[np.uint8]:
    """Returns the first training images as they are stored, uint8 `[n, size, size, 3]`."""
    records = tf.data.TFRecordDataset(record_files(examples, "train")).batch(count)
    parsed = tf.io.parse_example(next(iter(records)), {"image": _FEATURES["image"]})
    pixels = tf.io.decode_raw(parsed["image"], tf.uint8)
    images: npt.NDArray[np.uint8] = tf.reshape(pixels, [-1, stored_size, stored_size, 3]).numpy()
    return images


class Views(NamedTuple):
    """What a training step sees of its examples.

    Attributes:
        images: As a shopper might photograph them, uint8 `[batch, input_size, input_size, 3]`.
        share: How much of each pixel of `images` is product, 255 for all of it, uint8
            `[batch, input_size, input_size, 1]`.
        catalog: The same examples on white as the encoder would see the catalog's images, uint8
            `[batch, input_size, input_size, 3]`.
    """

    images: tf.Tensor
    share: tf.Tensor
    catalog: tf.Tensor


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
        image, mask = self.pixels(serialized)
        return image, mask, self.rows(serialized)

    def pixels(self, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns images and masks alone."""
        features = {name: _FEATURES[name] for name in ("image", "background")}
        parsed = tf.io.parse_example(serialized, features)
        size = self._size
        image = tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), [-1, size, size, 3])
        mask = tf.reshape(tf.io.decode_raw(parsed["background"], tf.uint8), [-1, size, size])
        return image, mask

    def rows(self, serialized: tf.Tensor) -> tf.Tensor:
        """Returns rows alone; pixels are not touched."""
        features = {name: _FEATURES[name] for name in ("product_id", "label_path")}
        parsed = tf.io.parse_example(serialized, features)
        path = tf.sparse.to_dense(parsed["label_path"], default_value=-1)
        path = tf.pad(path, [[0, 0], [0, self._levels]], constant_values=-1)[:, : self._levels]
        # Index -1 is the table's last entry, which says unknown.
        path = tf.where(path < 0, tf.cast(tf.size(self._rows) - 1, tf.int64), path)
        product = self._products.lookup(parsed["product_id"])
        rows = tf.concat([tf.gather(self._rows, path), product[:, None]], axis=1)
        return tf.ensure_shape(rows, [None, self._levels + 1])


def input_threads(processors: int) -> int:
    """Returns how many threads prepare a worker's batches.

    On processors the training needs the cores itself, and one makes images several times as fast
    as it trains on them; a GPU leaves all of them free, and eats far more.

    Args:
        processors: How many the worker has to itself.
    """
    return processors if tf.config.list_physical_devices("GPU") else max(1, processors // 4)


def own_records(files: list[str], *, shard: int, shards: int, threads: int) -> tf.data.Dataset:
    """Returns the records of one worker: whole files, and its share of those that are left over.

    Args:
        files: All of the split's files.
        shard: Number of this worker.
        shards: Number of workers.
        threads: How many files are read at once; the order stays in a deterministic pipeline.

    Returns:
        Serialised examples, strings; no two workers have the same one.
    """
    whole = len(files) - len(files) % shards
    own, left = files[:whole][shard::shards], files[whole:]

    def read(names: list[str]) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(names).interleave(
            tf.data.TFRecordDataset,
            cycle_length=_OPEN_FILES,
            num_parallel_calls=min(threads, _OPEN_FILES) if threads > 1 else None,
        )

    parts = [read(own)] if own else []
    if left:
        parts.append(read(left).shard(shards, shard))
    return parts[0] if len(parts) == 1 else parts[0].concatenate(parts[1])


def training_batches(
    examples: Path,
    *,
    parser: Parser,
    statistics: Statistics,
    augmentation: Augmentation,
    input_size: int,
    batch_size: int,
    seed: int,
    first_batch: int,
    shard: int,
    shards: int,
    cache_megabytes: int,
    threads: int = 1,
    views_per_product: int = 1,
    repeats: npt.NDArray[np.float32] | None = None,
) -> tf.data.Dataset:
    """Builds one worker's endless stream of augmented batches.

    The stream depends on the seed alone and can be entered at any batch: batch `n` is the same
    whether the run got there in one go or was restarted. Pixels are decoded once and kept, where
    they fit into memory, else after the batches that are left out.

    Args:
        examples: The examples directory.
        parser: Turns records into tensors.
        statistics: What `transform` counted.
        augmentation: How far images may stray.
        input_size: Height and width of the images to make.
        batch_size: Examples a batch, of one device.
        seed: Seed of the order and of the augmentation.
        first_batch: Batches to leave out at the start.
        shard: Number of this worker.
        shards: Number of workers.
        cache_megabytes: The cut-outs and the catalog views are kept in memory when this worker's
            share of them is smaller.
        threads: How many prepare batches; changes nothing in them.
        views_per_product: Views of one product that follow each other in a batch.
        repeats: How often each class's examples are shown, on average, see `repeat_rare`; None
            for once each.

    Raises:
        InputError: Views of one product are to come together, and the examples do not fit into
            memory.

    Returns:
        Batches of `Views`, rows int32 `[batch_size, levels + 1]` and item ids, string
        `[batch_size]`.
    """
    parallel = threads if threads > 1 else None
    own = statistics.train // shards + 1
    # Cut-outs have four channels, catalog views three.
    kept = own * (statistics.stored_size**2 * 4 + input_size**2 * 3)
    cached = kept <= cache_megabytes * 2**20
    if views_per_product > 1 and not cached:
        needed = kept // 2**20 + 1
        raise InputError(
            f"train.views_per_product: expected 1, or cache_megabytes of at least {needed}, "
            f"received {views_per_product} and {cache_megabytes}: views are brought together in "
            "memory"
        )

    def prepared(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        cutout = matte(*parser.pixels(serialized))
        return cutout, tf.cast(to_input(on_white(cutout), input_size) + 0.5, tf.uint8)

    def labelled(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        ids = tf.io.parse_example(serialized, _ITEM_ID)["item_id"]
        payload = prepared(serialized) if cached else serialized
        return payload, parser.rows(serialized), ids

    records = own_records(
        record_files(examples, "train"), shard=shard, shards=shards, threads=threads
    )
    stream = records.batch(_PARSE_BATCH).map(labelled, num_parallel_calls=parallel).unbatch()
    if cached:
        stream = stream.cache()
    buffer = own if cached else min(own, _STREAMING_BUFFER)
    stream = stream.shuffle(buffer, seed=seed + 1, reshuffle_each_iteration=True).repeat()
    if repeats is not None:
        stream = repeat_rare(stream, repeats, seed=seed)
    if views_per_product > 1:
        stream = bring_together(stream, views_per_product)
    batches = stream.batch(batch_size, drop_remainder=True).enumerate().skip(first_batch)

    augment = make_augment(augmentation, input_size=input_size, seed=seed + input_size)
    number = seed * shards + shard

    def finish(
        step: tf.Tensor, batch: tuple[Any, tf.Tensor, tf.Tensor]
    ) -> tuple[Views, tf.Tensor, tf.Tensor]:
        payload, rows, ids = batch
        cutout, catalog = payload if cached else prepared(payload)
        side = statistics.stored_size
        cutout = tf.ensure_shape(cutout, [batch_size, side, side, 4])
        images, share = augment(cutout, tf.stack([tf.constant(number, tf.int64), step]))
        return Views(images, share, catalog), rows, ids

    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    # The pipeline shares the worker's cores with the training step it feeds.
    options.threading.private_threadpool_size = threads
    return batches.map(finish, num_parallel_calls=parallel).prefetch(2).with_options(options)


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
