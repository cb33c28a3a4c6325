"""Augmentation: a catalog view on white becomes something like a shopper's photo of the product.

Every function works on whole batches of uint8 images with a handful of fused tensor operations, so
that one core makes several times as many images as it trains on. Randomness is a function of a
seed pair only (stateless draws): the same seed and step give the same batch, also after a restart.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.train.augment_config import Augmentation
from components.train.backgrounds import procedural_textures

# Catalog views fill this share of the frame; scales are told relative to the whole frame.
_CATALOG_FILL = 0.85
# Textures are drawn larger than a training image so that every batch sees another crop of them.
_TEXTURE_MARGIN = 1.5
_NOISE_TILES = 64
# Matrices from red, green and blue times alpha, and alpha, to the colours, and to the colours on
# white, less white. A product with one takes a third of the time of a slice, which copies three
# numbers at once, and is as exact.
_COLOUR = np.eye(4, 3, dtype=np.float32)
_ON_WHITE = _COLOUR - np.eye(4, dtype=np.float32)[:, 3:]
# From one plane to three of it, for the same reason: sparing a product its broadcast.
_THREE = np.ones((1, 3), np.float32)

Augment = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def matte(image: tf.Tensor, background: tf.Tensor) -> tf.Tensor:
    """Cuts a product out of its white background, with soft edges.

    Inside the mask's outline a pixel is a mix `a * product + (1 - a) * white`. Taking the darkest
    product pixel next to it for the product gives `a`, so that no white halo is pasted on a dark
    background.

    Args:
        image: uint8 `[batch, size, size, 3]`.
        background: uint8 `[batch, size, size]`, 255 where the white background is.

    Returns:
        uint8 `[batch, size, size, 4]`: red, green and blue multiplied by alpha, and alpha.
    """
    colour = tf.cast(image, tf.float32) / 255.0
    outside = tf.cast(background[..., None], tf.float32) / 255.0
    darkness = (1.0 - tf.reduce_mean(colour, axis=-1, keepdims=True)) * (1.0 - outside)
    neighbour = tf.nn.max_pool2d(darkness, 3, 1, "SAME")
    outline = tf.nn.max_pool2d(outside, 3, 1, "SAME")
    mixed = tf.clip_by_value(darkness / tf.maximum(neighbour, 1e-3), 0.0, 1.0)
    # A product that is nearly white itself gives no hint: leave its edge opaque.
    mixed = tf.where(neighbour > 0.08, mixed, 1.0)
    alpha = (1.0 - outside) * tf.where(outline > 0.5, mixed, 1.0)
    cut = tf.clip_by_value(colour - (1.0 - alpha), 0.0, 1.0) * tf.cast(alpha > 0.0, tf.float32)
    return tf.cast(tf.concat([cut, alpha], axis=-1) * 255.0 + 0.5, tf.uint8)


def on_white(cutout: tf.Tensor) -> tf.Tensor:
    """Lays cut-outs back on white, nearly as the catalog shows them.

    What the mask takes for background is pure white here, JPEG's noise around the product gone.

    Args:
        cutout: uint8 `[batch, size, size, 4]`, see `matte`.

    Returns:
        float32 `[batch, size, size, 3]`, whole numbers in 0..255.
    """
    # Colours are multiplied by alpha and rounded like it: the sum may pass white by one.
    return tf.minimum(_mixed(tf.cast(cutout, tf.float32), _ON_WHITE) + 255.0, 255.0)


def _mixed(images: tf.Tensor, matrix: npt.NDArray[np.float32]) -> tf.Tensor:
    """Returns images, float32 `[batch, height, width, m]`, in other channels by an m x n matrix."""
    shape = tf.shape(images)
    flat = tf.reshape(images, [-1, matrix.shape[0]]) @ tf.constant(matrix)
    return tf.reshape(flat, [shape[0], shape[1], shape[2], matrix.shape[1]])


def make_augment(settings: Augmentation, *, input_size: int, seed: int) -> Augment:
    """Builds the augmentation of a batch.

    Args:
        settings: How far images may stray.
        input_size: Height and width of the images to make, in pixels.
        seed: Seed of the textures and of the noise.

    Returns:
        A function of a cut-out batch (uint8 `[batch, stored, stored, 4]`, see `matte`) and a seed
        pair (int64 `[2]`) that returns images, uint8 `[batch, input_size, input_size, 3]`, and how
        much of each pixel is product, uint8 `[batch, input_size, input_size, 1]`, 255 for all
        of it.
    """
    texture_size = math.ceil(input_size * _TEXTURE_MARGIN)
    textures = tf.constant(
        procedural_textures(count=settings.textures, size=texture_size, seed=seed)
    )
    generator = np.random.default_rng(seed)
    noise_tiles = tf.constant(
        generator.standard_normal((_NOISE_TILES, input_size, input_size, 3), np.float32)
    )

    def augment(cutout: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        draw = _Draws(tf.shape(cutout)[0], seeds)
        product = _warp(cutout, settings, input_size, draw)
        colour, alpha = _mixed(product, _COLOUR), product[..., 3:]
        white = draw.chance(settings.white_share)
        strength = 1.0 - 0.8 * white
        scene = _scene(textures, input_size, draw)
        scene = scene * _mixed(_shadow(alpha, input_size, draw), _THREE)
        scene = scene * (1.0 - white) + white
        image = colour * draw.uniform(0.75, 1.15) + _mixed(1.0 - alpha, _THREE) * scene
        image = _recolour(image, settings, strength, draw)
        image = image * _mixed(_vignette(input_size, strength, draw), _THREE)
        image += (_blurred(image) - image) * strength * draw.uniform(-0.3, settings.blur)
        tile = tf.gather(noise_tiles, draw.index(_NOISE_TILES))
        image += tile * strength * draw.uniform(0.0, settings.noise)
        return _bytes(image), _bytes(alpha)

    return augment


def _bytes(values: tf.Tensor) -> tf.Tensor:
    """Returns 0..1 as uint8."""
    return tf.cast(tf.clip_by_value(values * 255.0 + 0.5, 0.0, 255.0), tf.uint8)


class _Draws:
    """Random numbers for a batch, each call another stream of the same seed pair."""

    def __init__(self, batch: tf.Tensor, seeds: tf.Tensor) -> None:
        """Keeps the batch size and the int64 `[2]` seed pair."""
        self._batch = batch
        self._seeds = seeds
        self._calls = 0

    def _next(self) -> tf.Tensor:
        self._calls += 1
        return self._seeds * tf.constant([1, 1009], tf.int64) + tf.constant(
            [0, self._calls], tf.int64
        )

    def flat(self, low: float, high: float) -> tf.Tensor:
        """Returns uniform float32 `[batch]`."""
        return tf.random.stateless_uniform([self._batch], self._next(), low, high)

    def flat_normal(self, deviation: float) -> tf.Tensor:
        """Returns normal float32 `[batch]`."""
        return tf.random.stateless_normal([self._batch], self._next(), 0.0, deviation)

    def uniform(self, low: float, high: float) -> tf.Tensor:
        """Returns uniform float32 `[batch, 1, 1, 1]`."""
        return self.flat(low, high)[:, None, None, None]

    def normal(self, deviation: float) -> tf.Tensor:
        """Returns normal float32 `[batch, 1, 1, 1]`."""
        return self.flat_normal(deviation)[:, None, None, None]

    def chance(self, share: float) -> tf.Tensor:
        """Returns 1.0 for a share of the batch and 0.0 for the rest, `[batch, 1, 1, 1]`."""
        return tf.cast(self.uniform(0.0, 1.0) < share, tf.float32)

    def index(self, count: int) -> tf.Tensor:
        """Returns int32 `[batch]` in 0 to count - 1."""
        return tf.random.stateless_uniform([self._batch], self._next(), 0, count, tf.int32)

    def offset(self, low: int, high: int) -> tf.Tensor:
        """Returns one int32 for the whole batch, in low to high, both included."""
        return tf.random.stateless_uniform([], self._next(), low, high + 1, tf.int32)


def _warp(cutout: tf.Tensor, settings: Augmentation, input_size: int, draw: _Draws) -> tf.Tensor:
    """Flips, turns, scales, shears and moves each product; float32 `[..., 4]` in 0..1."""
    stored = cutout.shape[1]
    scale = draw.flat(*settings.scale) / _CATALOG_FILL
    angle = draw.flat_normal(settings.rotation * math.pi / 180.0)
    stretch = tf.exp(draw.flat(-settings.stretch, settings.stretch))
    shear = draw.flat(-settings.shear, settings.shear)
    flip = tf.where(draw.flat(0.0, 1.0) < 0.5, -1.0, 1.0)
    cos, sin = tf.cos(angle), tf.sin(angle)
    # The transform maps output pixels to input pixels.
    ratio = (stored / input_size) / scale
    a0 = (cos + shear * sin) * stretch * ratio * flip
    a1 = (sin - shear * cos) * stretch * ratio * flip
    b0 = -sin / stretch * ratio
    b1 = cos / stretch * ratio
    centre_in, centre_out = (stored - 1) / 2.0, (input_size - 1) / 2.0
    x = centre_out + draw.flat(-settings.shift, settings.shift) * input_size
    y = centre_out + draw.flat(-settings.shift, settings.shift) * input_size
    zero = tf.zeros_like(x)
    transform = [a0, a1, centre_in - a0 * x - a1 * y, b0, b1, centre_in - b0 * x - b1 * y]
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        # Between float pixels this is faster than between bytes, and does not cut fractions off.
        images=tf.cast(cutout, tf.float32),
        transforms=tf.stack([*transform, zero, zero], axis=1),
        output_shape=[input_size, input_size],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )
    return warped * (1.0 / 255.0)


def _planes(size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the rows' and the columns' coordinates, -0.5 to 0.5, ready to broadcast."""
    line = tf.linspace(-0.5, 0.5, size)
    return line[None, :, None, None], line[None, None, :, None]


def _scene(textures: tf.Tensor, size: int, draw: _Draws) -> tf.Tensor:
    """Returns a background an image: one texture, or two that meet like a wall and a floor."""
    count, room = textures.shape[0], textures.shape[1] - size

    def crop() -> tf.Tensor:
        top, left = draw.offset(0, room), draw.offset(0, room)
        # Picked first: there are more textures than images in a batch.
        picked = tf.gather(textures, draw.index(count))
        return tf.cast(picked[:, top : top + size, left : left + size], tf.float32)

    rows, columns = _planes(size)
    slope, level = draw.normal(0.15), draw.uniform(-0.25, 0.45)
    floor = tf.clip_by_value((rows + slope * columns - level) * size + 0.5, 0.0, 1.0)
    floor = floor * draw.chance(0.3)
    wall = crop()
    return (wall + (crop() - wall) * _mixed(floor, _THREE)) * (1.0 / 255.0)


def _shadow(alpha: tf.Tensor, size: int, draw: _Draws) -> tf.Tensor:
    """Returns how much light a soft shadow leaves, float32 `[batch, size, size, 1]`."""
    # Pooling single pixels is the fast way to every other one.
    coarse = tf.nn.avg_pool2d(tf.nn.max_pool2d(alpha, 1, 2, "VALID"), 3, 2, "SAME")
    coarse = tf.roll(coarse, [draw.offset(0, 1), draw.offset(-1, 1)], [1, 2])
    soft = tf.image.resize(coarse, [size, size])
    return 1.0 - soft * draw.uniform(0.0, 0.6) * draw.chance(0.6)


def _recolour(
    image: tf.Tensor, settings: Augmentation, strength: tf.Tensor, draw: _Draws
) -> tf.Tensor:
    """Changes exposure, white balance, saturation, contrast and gamma."""
    gains = [draw.normal(settings.white_balance)[..., 0] for _ in range(3)]
    gain = 1.0 + strength[..., 0] * tf.concat(gains, axis=-1)
    gain *= tf.exp(strength * draw.normal(settings.exposure))[..., 0]
    saturation = 1.0 + (strength * draw.uniform(-settings.saturation, settings.saturation))[..., 0]
    contrast = 1.0 + (strength * draw.uniform(-settings.contrast, settings.contrast * 0.8))[..., 0]
    identity, grey = tf.eye(3)[None], tf.fill([1, 3, 3], 1.0 / 3.0)
    # image @ mix is saturation, then gain, then contrast about mid grey: one matrix an image.
    mix = (saturation * identity + (1.0 - saturation) * grey) * gain * contrast
    flat = tf.reshape(image, [tf.shape(image)[0], -1, 3])
    flat = tf.clip_by_value(flat @ mix + 0.5 * (1.0 - contrast), 0.0, 1.0)
    # A parabola through black and white stands in for gamma, which costs ten times as much.
    bend = (strength * draw.uniform(-0.4, 0.4))[..., 0]
    return tf.reshape(flat + bend * flat * (1.0 - flat), tf.shape(image))


def _vignette(size: int, strength: tf.Tensor, draw: _Draws) -> tf.Tensor:
    """Returns how much light the lens leaves, float32 `[batch, size, size, 1]`."""
    rows, columns = _planes(size)
    down, right = rows - draw.uniform(-0.2, 0.2), columns - draw.uniform(-0.2, 0.2)
    return 1.0 - strength * draw.uniform(-0.1, 0.7) * (down * down + right * right)


def _blurred(image: tf.Tensor) -> tf.Tensor:
    """Returns the image after a 3x3 binomial filter."""
    weights = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]).astype(np.float32) / 16.0
    kernel = tf.constant(np.repeat(weights[:, :, None, None], 3, axis=2))
    return tf.nn.depthwise_conv2d(image, kernel, [1, 1, 1, 1], "SAME")
