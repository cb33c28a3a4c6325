"""Pixels of four bytes as one number, which is how the augmentation moves them.

A gather of numbers costs a quarter of a gather of bytes, and two of a number's bytes are weighed by
one multiplication.
"""

from __future__ import annotations

import tensorflow as tf

# Two of the four bytes, with room above each for a product with a weight of up to 256.
_EVEN, _ODD = 0x00FF00FF, 0xFF00FF00
# Half of a unit in the last place of both: results are rounded.
_HALVES = 0x00800080
_WEIGHTS = 256
# Border of nothing, so that all neighbours of a pixel that is moved away can be read.
_BORDER = 2


def channels(pixels: tf.Tensor, *numbers: int) -> tf.Tensor:
    """Returns some channels of packed pixels.

    Args:
        pixels: uint32, of any shape.
        numbers: Which, counted from the lowest byte.

    Returns:
        float32 `[len(numbers), ...]`, whole numbers in 0..255.
    """
    places = tf.reshape(
        tf.constant([8 * number for number in numbers], tf.uint32), [-1] + [1] * pixels.shape.rank
    )
    return tf.cast(_both(tf.bitwise.right_shift(pixels[None], places), 0xFF), tf.float32)


def places(
    transform: tf.Tensor, *, height: int, width: int, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the pixels of an affine map.

    Args:
        transform: float32 `[6, batch]`: what is at column x and row y of the result is found at
            column `t0 x + t1 y + t2` and row `t3 x + t4 y + t5` of the image.
        height: Of the images, in pixels.
        width: Of the images, in pixels.
        size: Height and width of the result.

    Returns:
        Rows and columns in 1/256 of a pixel, int32 `[batch, size, size]`, for `sampled`. Whole
        numbers: what computes a float twice, as XLA may, may round it in two ways.
    """
    line = tf.range(size, dtype=tf.float32)
    x, y = line[None, None, :], line[None, :, None]
    a0, a1, a2, b0, b1, b2 = tf.unstack(transform[:, :, None, None])

    def fixed(at: tf.Tensor, length: int) -> tf.Tensor:
        inside = tf.clip_by_value(at + _BORDER, 0.0, float(length + _BORDER))
        return tf.cast(inside * _WEIGHTS + 0.5, tf.int32)

    return fixed(b0 * x + b1 * y + b2, height), fixed(a0 * x + a1 * y + a2, width)


def sampled(image: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Draws each image anew, with bilinear interpolation.

    Args:
        image: uint8 `[batch, height, width, 4]`.
        rows: From `places`.
        columns: From `places`.

    Returns:
        Packed pixels, uint32 `[batch, size, size]`; zero outside of the image. Weights are
        multiples of 1/256 and results are rounded twice, so that a byte is off by 2 at most.
    """
    batch, height, width, _ = image.shape
    border = [_BORDER, _BORDER]
    pixels = tf.pad(tf.bitcast(image, tf.uint32), [[0, 0], border, border])
    stride = width + 2 * _BORDER
    first = (tf.range(batch) * (height + 2 * _BORDER) * stride)[:, None, None]
    at = first + tf.bitwise.right_shift(rows, 8) * stride + tf.bitwise.right_shift(columns, 8)
    below_share, right_share = (
        tf.cast(tf.bitwise.bitwise_and(part, _WEIGHTS - 1), tf.uint32) for part in (rows, columns)
    )
    flat = tf.reshape(pixels, [-1])
    above, below = (
        _between(tf.gather(flat, start), tf.gather(flat, start + 1), right_share)
        for start in (at, at + stride)
    )
    return _between(above, below, below_share)


def _between(first: tf.Tensor, second: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Returns `first + (second - first) * share / 256` of each byte; all uint32."""
    rest = tf.constant(_WEIGHTS, tf.uint32) - share

    def weighed(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return _both(a, _EVEN) * rest + _both(b, _EVEN) * share + tf.constant(_HALVES, tf.uint32)

    def down(pixels: tf.Tensor) -> tf.Tensor:
        return tf.bitwise.right_shift(pixels, tf.constant(8, tf.uint32))

    even = _both(down(weighed(first, second)), _EVEN)
    return tf.bitwise.bitwise_or(even, _both(weighed(down(first), down(second)), _ODD))


def _both(pixels: tf.Tensor, mask: int) -> tf.Tensor:
    return tf.bitwise.bitwise_and(pixels, tf.constant(mask, tf.uint32))
