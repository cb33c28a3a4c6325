"""The preprocessing graph: one TensorFlow Transform function for training, embedding and serving.

Its only input is `image_bytes`, so the very graph that made the training examples also reads what
a shopper uploads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from components.transform.config import TransformConfig

INPUT = "image_bytes"
IMAGE = "image"
BACKGROUND = "background"
CHANNEL_MEAN = "channel_mean"
CHANNEL_STD = "channel_std"

# A round crosses whole rows and columns, so only spirals of white need more than a handful.
_MOST_ROUNDS = 64


def raw_feature_spec() -> dict[str, Any]:
    """Returns the feature spec of the graph's only input: one encoded image."""
    return {INPUT: tf.io.FixedLenFeature([], tf.string)}


def decoder(config: TransformConfig) -> Callable[[Any], tuple[Any, Any]]:
    """Returns the graph's work on images, from a batch of bytes to pixels and background.

    The function takes `image_bytes`, a string tensor [batch], and gives `image`, uint8 [batch, S,
    S, 3], and `background`, boolean [batch, S, S]: what `preprocessing_fn` gives in other types.
    """

    def decode_batch(image_bytes: Any) -> tuple[Any, Any]:
        return _decode_batch(image_bytes, config)

    return tf.function(  # type: ignore[no-any-return]  # TensorFlow ships no types.
        decode_batch, input_signature=[tf.TensorSpec([None], tf.string)]
    )


def _decode_batch(image_bytes: Any, config: TransformConfig) -> tuple[Any, Any]:
    size = config.stored_size
    image = tf.map_fn(
        lambda data: decode(data, size=size),
        image_bytes,
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
    )
    background = background_mask(image, white=config.background_white, halo=config.halo_white)
    return image, background


def preprocessing_fn(
    config: TransformConfig, mean: Sequence[float], deviation: Sequence[float]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Returns the function that TensorFlow Transform traces.

    The function takes `image_bytes`, a string tensor [batch] of images that
    `components.contracts.images.admit` let through, and gives, with S the stored size:

    - `image`: float32 [batch, S, S, 3], whole numbers from 0 to 255. (TensorFlow Transform lets
      no uint8 out of a graph; the shards hold these numbers as bytes.)
    - `background`: float32 [batch, S, S], 255 where the white around the product is, else 0.
    - `channel_mean`, `channel_std`: float32 [batch, 3], the same for every image: mean and
      standard deviation of the training split's pixels per channel, from 0 to 255.

    The statistics come in as numbers and not from an analyzer of TensorFlow Transform: an analyzer
    would decode the whole training split each day, where the sums of images that are known already
    give the same mean.
    """

    def preprocess(inputs: dict[str, Any]) -> dict[str, Any]:
        image, background = _decode_batch(inputs[INPUT], config)
        count = tf.shape(image)[0]
        return {
            IMAGE: tf.cast(image, tf.float32),
            BACKGROUND: tf.where(background, 255.0, 0.0),
            CHANNEL_MEAN: tf.tile(tf.constant([mean], tf.float32), [count, 1]),
            CHANNEL_STD: tf.tile(tf.constant([deviation], tf.float32), [count, 1]),
        }

    return preprocess


def decode(image_bytes: Any, *, size: int) -> Any:
    """Decodes one image, pads it with white to a square and resizes it.

    Args:
        image_bytes: Scalar string tensor: a PNG or JPEG.
        size: Side of the result in pixels.

    Returns:
        uint8 tensor [size, size, 3], sRGB; bilinear with anti-aliasing.
    """
    image = tf.io.decode_image(image_bytes, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    side = tf.maximum(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    margins = [[top, side - height - top], [left, side - width - left], [0, 0]]
    square = tf.pad(image, margins, constant_values=tf.constant(255, tf.uint8))
    resized = tf.image.resize(square, [size, size], method="bilinear", antialias=True)
    resized = tf.ensure_shape(resized, [size, size, 3])
    return tf.saturate_cast(tf.round(resized), tf.uint8)


def background_mask(image: Any, *, white: int, halo: int) -> Any:
    """Finds the white around a product: white that connects to the border of the image.

    White inside the product (a shirt, the gap in a chair's back) stays part of it: nothing in the
    pixels tells the two apart.

    Args:
        image: uint8 tensor [batch, S, S, 3].
        white: Darkest value that all channels of a background pixel may have.
        halo: The same for pixels that touch the background found so.

    Returns:
        Boolean tensor [batch, S, S].
    """
    darkest = tf.reduce_min(image, axis=-1)
    reached = _flood(darkest >= tf.cast(white, tf.uint8))
    grown = reached
    for axis in (1, 2):
        for offset in (-1, 1):
            grown |= _shift(reached, offset, axis)
    return reached | (grown & (darkest >= tf.cast(halo, tf.uint8)))


def _shift(mask: Any, offset: int, axis: int) -> Any:
    """Moves a mask by one pixel; what comes in from outside is False."""
    size = mask.shape[axis]
    before, after = max(offset, 0), max(-offset, 0)
    paddings = [[0, 0], [0, 0], [0, 0]]
    paddings[axis] = [before, after]
    padded = tf.pad(mask, paddings)
    begin = [0, 0, 0]
    begin[axis] = after
    extent = [-1, -1, -1]
    extent[axis] = size
    return tf.slice(padded, begin, extent)


def _flood(passable: Any) -> Any:
    """Returns what can be reached from the border through passable pixels, by edges.

    Reaching spreads along whole runs of a row, then of a column: a handful of rounds where a
    pixel-by-pixel dilation needs as many as the image is wide. An image in which nothing more can
    be reached takes no part in further rounds, so that a winding one costs only itself.
    """
    size = passable.shape[1]
    border = tf.pad(tf.zeros([size - 2, size - 2], tf.bool), [[1, 1], [1, 1]], constant_values=True)
    barrier = tf.cast(~passable, tf.int32)
    line = tf.range(size) * (size + 1)
    # Every run of passable pixels in a line has its own number: how many barriers precede it.
    in_rows = line[:, tf.newaxis] + tf.cumsum(barrier, axis=2)
    in_columns = line + tf.cumsum(barrier, axis=1)
    runs = size * (size + 1)

    def spread(reached: Any, allowed: Any, numbers: Any) -> Any:
        count = tf.shape(numbers)[0]
        numbers += (tf.range(count) * runs)[:, tf.newaxis, tf.newaxis]
        hit = tf.math.unsorted_segment_max(tf.cast(reached, tf.int32), numbers, count * runs)
        return allowed & (tf.gather(hit, numbers) > 0)

    def advance(reached: Any, moving: Any) -> tuple[Any, Any]:
        allowed = tf.gather(passable, moving)
        further = spread(tf.gather(reached, moving), allowed, tf.gather(in_rows, moving))
        further = spread(further, allowed, tf.gather(in_columns, moving))
        # Columns are complete now: there is more to reach only from a pixel to the one beside it.
        beyond = allowed & ~further
        more = (further[:, :, 1:] & beyond[:, :, :-1]) | (further[:, :, :-1] & beyond[:, :, 1:])
        reached = tf.tensor_scatter_nd_update(reached, moving[:, tf.newaxis], further)
        return reached, tf.boolean_mask(moving, tf.reduce_any(more, axis=[1, 2]))

    reached, _ = tf.while_loop(
        lambda _, moving: tf.size(moving) > 0,
        advance,
        (passable & border, tf.range(tf.shape(passable)[0])),
        shape_invariants=(
            tf.TensorSpec([None, size, size], tf.bool),
            tf.TensorSpec([None], tf.int32),
        ),
        maximum_iterations=_MOST_ROUNDS,
    )
    return reached
