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


def warped(image: tf.Tensor, transform: tf.Tensor, size: int) -> tf.Tensor:
    """Draws each image anew, through an affine map, with bilinear interpolation.

    Args:
        image: uint8 `[batch, height, width, 4]`.
        transform: float32 `[6, batch]`: what is at column x and row y of the result is found at
            column `t0 x + t1 y + t2` and row `t3 x + t4 y + t5` of the image.
        size: Height and width of the result.

    Returns:
        Packed pixels, uint32 `[batch, size, size]`; zero outside of the image. Weights are
        multiples of 1/256 and results are rounded twice, so that a byte is off by less than 2.
    """
    batch, height, width, _ = image.shape
    line = tf.range(size, dtype=tf.float32)
    columns, rows = line[None, None, :], line[None, :, None]
    a0, a1, a2, b0, b1, b2 = tf.unstack(transform[:, :, None, None])
    left, right_share = _whole_and_share(a0 * columns + a1 * rows + a2, width)
    top, below_share = _whole_and_share(b0 * columns + b1 * rows + b2, height)
    border = [_BORDER, _BORDER]
    pixels = tf.pad(tf.bitcast(image, tf.uint32), [[0, 0], border, border])
    stride = width + 2 * _BORDER
    first = (tf.range(batch) * (height + 2 * _BORDER) * stride)[:, None, None]
    at = first + top * stride + left
    flat = tf.reshape(pixels, [-1])
    above, below = (
        _between(tf.gather(flat, start), tf.gather(flat, start + 1), right_share)
        for start in (at, at + stride)
    )
    return _between(above, below, below_share)


def _whole_and_share(places: tf.Tensor, length: int) -> tf.Tensor:
    """Returns the pixels before some places, with the border counted, and the next ones' weights.

    Returns:
        int32 and uint32, of the places' shape; weights in 0..256.
    """
    whole = tf.floor(places)
    share = tf.cast((places - whole) * _WEIGHTS + 0.5, tf.uint32)
    inside = tf.clip_by_value(whole, -float(_BORDER), float(length))
    return tf.cast(inside, tf.int32) + _BORDER, share


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
