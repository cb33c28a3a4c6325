"""Pixels of four bytes as one number, which is how the augmentation moves them.

A gather of numbers costs a quarter of a gather of bytes, two of a number's bytes are weighed by one
multiplication, and a loop that computes all channels of a pixel reads what they share once.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

# Two of the four bytes, with room above each for a product with a weight of up to 256.
_EVEN, _ODD = 0x00FF00FF, 0xFF00FF00
# Half of a unit in the last place of both: results are rounded.
_HALVES = 0x00800080
_WEIGHTS = 256
# Border of nothing, so that all neighbours of a pixel that is moved away can be read.
_BORDER = 2


def channel(pixels: tf.Tensor, number: int) -> tf.Tensor:
    """Returns one channel of packed pixels.

    Args:
        pixels: uint32, of any shape.
        number: Which, counted from the lowest byte.

    Returns:
        float32 of the same shape, whole numbers in 0..255.
    """
    return tf.cast(_both(_down(pixels, 8 * number), 0xFF), tf.float32)


def pack(channels: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns packed pixels of up to four channels; those that are not given are zero.

    Args:
        channels: float32, the lowest byte's first; rounded, and what is beyond 0..255 is cut off.

    Returns:
        uint32 of the same shape.
    """
    pixels = tf.zeros([], tf.uint32)
    for number, values in enumerate(channels):
        whole = tf.cast(tf.clip_by_value(values + 0.5, 0.0, 255.0), tf.int32)
        shifted = tf.bitwise.left_shift(tf.cast(whole, tf.uint32), _number(8 * number))
        pixels = tf.bitwise.bitwise_or(pixels, shifted)
    return pixels


def apart(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the three lower channels of packed pixels, and the highest.

    Args:
        pixels: uint32, of any shape.

    Returns:
        uint8 `[..., 3]` and `[..., 1]`.
    """
    every = tf.bitcast(pixels, tf.uint8)
    return every[..., :3], every[..., 3:]


def binomial(pixels: tf.Tensor) -> list[tf.Tensor]:
    """Weighs the 3x3 neighbours of each pixel by 1 2 1 in both directions; nothing is outside.

    Args:
        pixels: uint32 `[batch, height, width]`.

    Returns:
        Each of the three lower channels, float32 `[batch, height, width]`, the weights' sum of 16
        times the mean: whole numbers.
    """
    padded = tf.pad(pixels, [[0, 0], [1, 1], [1, 1]])

    def weighed(two: tf.Tensor) -> tf.Tensor:
        twice = _number(2)
        rows = two[:, :-2] + twice * two[:, 1:-1] + two[:, 2:]
        return rows[..., :-2] + twice * rows[..., 1:-1] + rows[..., 2:]

    even = weighed(_both(padded, _EVEN))
    return [
        tf.cast(one, tf.float32)
        for one in (
            _both(even, 0xFFFF),
            weighed(_both(_down(padded, 8), 0xFF)),
            _down(even, 16),
        )
    ]


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
    rest = _number(_WEIGHTS) - share

    def weighed(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return _both(a, _EVEN) * rest + _both(b, _EVEN) * share + _number(_HALVES)

    even = _both(_down(weighed(first, second), 8), _EVEN)
    odd = _both(weighed(_down(first, 8), _down(second, 8)), _ODD)
    return tf.bitwise.bitwise_or(even, odd)


def _both(pixels: tf.Tensor, mask: int) -> tf.Tensor:
    return tf.bitwise.bitwise_and(pixels, _number(mask))


def _down(pixels: tf.Tensor, bits: int) -> tf.Tensor:
    return tf.bitwise.right_shift(pixels, _number(bits))


def _number(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint32)
