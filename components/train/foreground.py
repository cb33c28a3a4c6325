"""What is product and what is background: a second thing that a training image teaches.

A catalog view lies on white, so that the training knows of every pixel of an image that it made how
much of it is product. Asked for that in the middle of the network, the features learn to tell the
product from the world behind it far sooner than from the classes alone. The head is part of the
training only; the encoder is the same network with and without it.
"""

from __future__ import annotations

import keras
import tensorflow as tf

# Coarse enough to know objects, fine enough to know where they are: an eighth of the image's side.
_STAGE = "conv3"


class ForegroundHead(keras.layers.Layer):  # type: ignore[misc]
    """One logit a cell of a feature map: how much of it is product."""

    def __init__(self, *, seed: int) -> None:
        """Makes the head.

        Args:
            seed: Seed of the initial weights.
        """
        super().__init__(name="head_foreground", dtype="float32")
        self._seed = seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes one weight a channel, and a bias."""
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], 1),
            initializer=keras.initializers.GlorotUniform(seed=self._seed),
        )
        self.bias = self.add_weight(name="bias", shape=(), initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns logits, float32 `[batch, height, width]`."""
        return tf.tensordot(tf.cast(inputs, tf.float32), self.kernel, 1)[..., 0] + self.bias


def with_features(network: keras.Model) -> keras.Model:
    """Returns the network with a second output: the features that the foreground is told from."""
    last = [layer for layer in network.layers if layer.name.startswith(_STAGE)][-1]
    return keras.Model(network.inputs, [network.outputs[0], last.output], name="with_features")


def build_foreground_head(features: keras.Model, *, seed: int) -> ForegroundHead:
    """Returns a head for the second output of `with_features`."""
    head = ForegroundHead(seed=seed * 1000 + 499)
    head.build(features.outputs[1].shape)
    return head


def foreground_loss(logits: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Returns the cross-entropy of each example, in the mean over the cells.

    With `p` the sigmoid of a cell's logit and `s` the share of product in it, a cell's loss is
    `-s log p - (1 - s) log(1 - p)`.

    Args:
        logits: float32 `[batch, height, width]`.
        share: float32 `[batch, size, size, 1]` in 0..1, of every pixel.

    Returns:
        float32 `[batch]`.
    """
    cells = tf.image.resize(share, tf.shape(logits)[1:], method="area")[..., 0]
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=cells, logits=logits)
    return tf.reduce_mean(losses, axis=[1, 2])
