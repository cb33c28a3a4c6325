"""ResNet-18, -34 and -50 (He et al., 2016), and -10 for trials, that end in a unit vector.

Layer names follow Keras's own (`conv2_block1_1_conv`), so that weights keep their names from one
checkpoint to the next. The last normalisation of each block starts at zero (Goyal et al., 2017):
a fresh network begins as its shortcuts.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf
from keras import layers

from components.train.normalization import SyncBatchNormalization

_BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
_BOTTLENECK = {10: False, 18: False, 34: False, 50: True}
_EXPANSION = 4


class UnitNorm(layers.Layer):  # type: ignore[misc]
    """Divides each vector by its length."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns float32 of the inputs' shape, each row of length one."""
        return tf.math.l2_normalize(tf.cast(inputs, tf.float32), axis=-1)


def build_resnet(
    *,
    depth: int,
    width: int,
    embedding_dim: int,
    channel_mean: Sequence[float],
    channel_std: Sequence[float],
    squeeze_excite: bool = False,
    antialias: bool = False,
    precision: str = "float32",
    sync_batch_norm: bool = True,
    seed: int = 0,
) -> keras.Model:
    """Builds the network.

    Args:
        depth: 10, 18, 34 or 50.
        width: Channels of the first stage.
        embedding_dim: Length of the embedding.
        channel_mean: Mean of red, green and blue in 0..255.
        channel_std: Standard deviation of red, green and blue in 0..255.
        squeeze_excite: Whether each block weighs its channels by what the whole image shows (Hu et
            al., 2018).
        antialias: Whether the stem's pooling blurs before it drops every other pixel (Zhang,
            "Making convolutional networks shift-invariant again", 2019).
        precision: `float32` or `bfloat16` for the convolutions; weights stay float32.
        sync_batch_norm: Whether normalisation sees the whole batch, or each worker's part of it.
        seed: Seed of the initial weights.

    Returns:
        A model from float32 `[batch, height, width, 3]` in 0..255, any height and width, to
        float32 `[batch, embedding_dim]` of unit norm.
    """
    policy = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    network = _Network(policy, seed, squeeze_excite=squeeze_excite, sync_batch_norm=sync_batch_norm)
    inputs = keras.Input((None, None, 3), dtype="float32", name="pixels")
    x = layers.Normalization(
        mean=list(channel_mean),
        variance=[std * std for std in channel_std],
        dtype="float32",
        name="standardize",
    )(inputs)
    x = network.conv(x, width, 7, 2, "conv1")
    x = network.norm(x, "conv1", relu=True)
    if antialias:
        x = layers.MaxPooling2D(3, 1, padding="same", dtype=policy, name="pool1_pool")(x)
        x = BlurPool(dtype=policy, name="pool1_blur")(x)
    else:
        x = layers.MaxPooling2D(3, 2, padding="same", dtype=policy, name="pool1_pool")(x)
    for stage, blocks in enumerate(_BLOCKS[depth]):
        filters = width * 2**stage
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            name = f"conv{stage + 2}_block{block + 1}"
            build = network.bottleneck if _BOTTLENECK[depth] else network.basic
            x = build(x, filters, stride, name)
    x = layers.GlobalAveragePooling2D(dtype="float32", name="avg_pool")(x)
    x = layers.Dense(
        embedding_dim,
        use_bias=False,
        dtype="float32",
        kernel_initializer=keras.initializers.GlorotUniform(seed=network.next_seed()),
        name="embedding_dense",
    )(x)
    x = SyncBatchNormalization(
        synchronized=sync_batch_norm,
        momentum=0.97,
        epsilon=1e-5,
        dtype="float32",
        name="embedding_bn",
    )(x)
    return keras.Model(inputs, UnitNorm(dtype="float32", name="embedding")(x), name="encoder")


class BlurPool(layers.Layer):  # type: ignore[misc]
    """Blurs with the binomial filter (1, 2, 1) x (1, 2, 1) / 16 and keeps every other pixel."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns `[batch, ceil(height / 2), ceil(width / 2), channels]` of the inputs' dtype."""
        line = tf.constant([1.0, 2.0, 1.0], inputs.dtype) / 4.0
        channels = inputs.shape[-1]
        kernel = tf.tile((line[:, None] * line[None, :])[:, :, None, None], [1, 1, channels, 1])
        # The border repeats itself: zeros would darken it.
        padded = tf.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="SYMMETRIC")
        return tf.nn.depthwise_conv2d(padded, kernel, [1, 2, 2, 1], padding="VALID")


class _Network:
    """Adds layers with one dtype policy, and a seed of its own for each kernel."""

    def __init__(
        self, policy: str, seed: int, *, squeeze_excite: bool, sync_batch_norm: bool
    ) -> None:
        self.policy = policy
        self._synchronized = sync_batch_norm
        self._squeeze_excite = squeeze_excite
        self._seed = seed * 1000

    def next_seed(self) -> int:
        self._seed += 1
        return self._seed

    def conv(
        self, x: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str
    ) -> keras.KerasTensor:
        initializer = keras.initializers.HeNormal(seed=self.next_seed())
        return layers.Conv2D(
            filters,
            kernel,
            stride,
            padding="same",
            use_bias=False,
            kernel_initializer=initializer,
            dtype=self.policy,
            name=f"{name}_conv",
        )(x)

    def norm(
        self, x: keras.KerasTensor, name: str, *, relu: bool = False, zero: bool = False
    ) -> keras.KerasTensor:
        x = SyncBatchNormalization(
            synchronized=self._synchronized,
            momentum=0.97,
            epsilon=1e-5,
            gamma_initializer="zeros" if zero else "ones",
            dtype=self.policy,
            name=f"{name}_bn",
        )(x)
        return layers.ReLU(dtype=self.policy, name=f"{name}_relu")(x) if relu else x

    def shortcut(
        self, x: keras.KerasTensor, filters: int, stride: int, name: str
    ) -> keras.KerasTensor:
        if stride == 1 and x.shape[-1] == filters:
            return x
        return self.norm(self.conv(x, filters, 1, stride, f"{name}_0"), f"{name}_0")

    def join(
        self, shortcut: keras.KerasTensor, x: keras.KerasTensor, name: str
    ) -> keras.KerasTensor:
        if self._squeeze_excite:
            x = self._excite(x, name)
        x = layers.Add(dtype=self.policy, name=f"{name}_add")([shortcut, x])
        return layers.ReLU(dtype=self.policy, name=f"{name}_out")(x)

    def _excite(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        channels = int(x.shape[-1])
        y = layers.GlobalAveragePooling2D(
            keepdims=True, dtype=self.policy, name=f"{name}_se_squeeze"
        )(x)
        for part, size, activation in (
            ("reduce", max(8, channels // 16), "relu"),
            ("expand", channels, "sigmoid"),
        ):
            y = layers.Conv2D(
                size,
                1,
                activation=activation,
                kernel_initializer=keras.initializers.HeNormal(seed=self.next_seed()),
                dtype=self.policy,
                name=f"{name}_se_{part}",
            )(y)
        return layers.Multiply(dtype=self.policy, name=f"{name}_se_excite")([x, y])

    def basic(
        self, x: keras.KerasTensor, filters: int, stride: int, name: str
    ) -> keras.KerasTensor:
        y = self.norm(self.conv(x, filters, 3, stride, f"{name}_1"), f"{name}_1", relu=True)
        y = self.norm(self.conv(y, filters, 3, 1, f"{name}_2"), f"{name}_2", zero=True)
        return self.join(self.shortcut(x, filters, stride, name), y, name)

    def bottleneck(
        self, x: keras.KerasTensor, filters: int, stride: int, name: str
    ) -> keras.KerasTensor:
        wide = filters * _EXPANSION
        y = self.norm(self.conv(x, filters, 1, 1, f"{name}_1"), f"{name}_1", relu=True)
        y = self.norm(self.conv(y, filters, 3, stride, f"{name}_2"), f"{name}_2", relu=True)
        y = self.norm(self.conv(y, wide, 1, 1, f"{name}_3"), f"{name}_3", zero=True)
        return self.join(self.shortcut(x, wide, stride, name), y, name)
