"""From stored pixels to a unit vector: the one path that training, export and serving share."""

from __future__ import annotations

import keras
import tensorflow as tf


def to_input(images: tf.Tensor, input_size: int) -> tf.Tensor:
    """Resizes images to what the network sees.

    Args:
        images: Of any number type, `[batch, height, width, 3]` in 0..255.
        input_size: Height and width that the network sees.

    Returns:
        float32 `[batch, input_size, input_size, 3]`.
    """
    pixels = tf.cast(images, tf.float32)
    if images.shape[1] == input_size and images.shape[2] == input_size:
        return pixels
    return tf.image.resize(pixels, [input_size, input_size], antialias=True)


def encode(
    network: keras.Model, images: tf.Tensor, *, input_size: int, flip_average: bool
) -> tf.Tensor:
    """Embeds images as they lie in the examples.

    Args:
        network: What `build_resnet` returned.
        images: uint8 `[batch, stored, stored, 3]`.
        input_size: Height and width that the network sees.
        flip_average: Whether to average with the mirror image.

    Returns:
        float32 `[batch, embedding_dim]` of unit norm.
    """
    pixels = to_input(images, input_size)
    vectors = network(pixels, training=False)
    if flip_average:
        vectors += network(pixels[:, :, ::-1], training=False)
    return tf.math.l2_normalize(tf.cast(vectors, tf.float32), axis=-1)
