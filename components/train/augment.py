"""Augmentation: a catalog view on white becomes something like a shopper's photo of the product.

Every function works on whole batches, plane by plane, and XLA makes one loop over the pixels of all
that lies between two neighbourhoods: operation by operation it takes four times as long, and a core
that trains has better to do. Randomness is a function of a seed pair only (stateless draws): the
same seed and step give the same batch, also after a restart.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.train.augment_config import Augmentation
from components.train.backgrounds import procedural_textures
from components.train.packed import apart, binomial, channel, pack, places, sampled

# Catalog views fill this share of the frame; scales are told relative to the whole frame.
_CATALOG_FILL = 0.85
# Textures are drawn larger than a training image so that every batch sees another crop of them.
_TEXTURE_MARGIN = 1.5
_NOISE_TILES = 64
# Noise is kept as bytes, so many to a standard deviation, about the middle one.
_NOISE_STEPS, _NOISE_MIDDLE = 32.0, 128.0
# Random numbers of a loop: for each image, and for all of them.
_LOOPS, _UNIFORM, _NORMAL, _SHARED = 4, 16, 6, 4
_SHADOW_CELL = 4

Augment = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
_Compiled = Callable[..., Any]


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
    pixels = tf.cast(cutout, tf.float32)
    # Colours are multiplied by alpha and rounded like it: the sum may pass white by one.
    return tf.minimum(pixels[..., :3] + (255.0 - pixels[..., 3:]), 255.0)


def make_augment(settings: Augmentation, *, input_size: int, seed: int) -> Augment:
    """Builds the augmentation of a batch.

    Args:
        settings: How far images may stray.
        input_size: Height and width of the images to make, in pixels.
        seed: Seed of the textures and of the noise.

    Returns:
        A function of a cut-out batch (uint8 `[batch, stored, stored, 4]`, see `matte`, of a static
        shape) and a seed pair (int64 `[2]`) that returns images, uint8
        `[batch, input_size, input_size, 3]`, and how much of each pixel is product, uint8
        `[batch, input_size, input_size, 1]`, 255 for all of it.
    """
    texture_size = math.ceil(input_size * _TEXTURE_MARGIN)
    drawn = procedural_textures(count=settings.textures, size=texture_size, seed=seed)
    textures = _packed(drawn)
    noise = np.random.default_rng(seed).standard_normal(
        (_NOISE_TILES, input_size, input_size, 3), np.float32
    )
    tiles = _packed(np.clip(noise * _NOISE_STEPS + _NOISE_MIDDLE, 0, 255).astype(np.uint8))
    loops = _loops(settings, input_size)

    def augment(cutout: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch, stored, _, _ = cutout.shape
        numbers = _numbers(batch, seeds)
        product = _sampled(cutout, *loops.place(numbers, stored))
        image, strength = loops.light(product, loops.scene(textures, numbers), numbers)
        images, share = _apart(loops.expose(image, strength, product, tiles, numbers))
        return images, share

    return augment


def _packed(images: npt.NDArray[np.uint8]) -> tf.Tensor:
    """Returns images `[n, height, width, 3]` as opaque pixels, uint32 `[n, height, width]`."""
    opaque = np.full((*images.shape[:3], 1), 255, np.uint8)
    return tf.constant(np.concatenate([images, opaque], axis=-1).view(np.uint32)[..., 0])


def _compiled(function: _Compiled) -> _Compiled:
    """Returns a function that XLA compiles for each shape, on processors and beside GPUs."""
    compiled: _Compiled = tf.function(function, jit_compile=True, autograph=False)
    return compiled


_sampled = _compiled(sampled)
_apart = _compiled(apart)


class _Loops(NamedTuple):
    """What XLA compiles.

    There are several and not one: what a shadow or a blur takes from its neighbours would be made
    anew for each of them, and what gathers, or writes bytes, is not vectorised.
    """

    place: _Compiled
    scene: _Compiled
    light: _Compiled
    expose: _Compiled


@functools.cache
def _loops(settings: Augmentation, input_size: int) -> _Loops:
    """Returns the loops; where the same are asked for again they need not be compiled again."""

    @_compiled
    def place(numbers: _Numbers, stored: int) -> tuple[tf.Tensor, tf.Tensor]:
        transform = _transform(settings, stored, input_size, _Draws(numbers, 0))
        return places(transform, height=stored, width=stored, size=input_size)

    @_compiled
    def scene(textures: tf.Tensor, numbers: _Numbers) -> tf.Tensor:
        return _scene(textures, input_size, _Draws(numbers, 1))

    @_compiled
    def light(
        product: tf.Tensor, scene: tf.Tensor, numbers: _Numbers
    ) -> tuple[tf.Tensor, tf.Tensor]:
        draw = _Draws(numbers, 2)
        rest = 1.0 - channel(product, 3) / 255.0
        white = draw.chance(settings.white_share)
        strength = 1.0 - 0.8 * white
        shade = rest * (1.0 - white) * _shadow(1.0 - rest, draw)
        paper = rest * white * 255.0
        brightness = draw.uniform(0.75, 1.15)
        image = [
            channel(product, one) * brightness + channel(scene, one) * shade + paper
            for one in range(3)
        ]
        image = _recoloured(image, settings, strength, draw)
        vignette = _vignette(input_size, strength, draw)
        return pack([plane * vignette for plane in image]), strength

    @_compiled
    def expose(
        image: tf.Tensor,
        strength: tf.Tensor,
        product: tf.Tensor,
        tiles: tf.Tensor,
        numbers: _Numbers,
    ) -> tf.Tensor:
        draw = _Draws(numbers, 3)
        blur = strength * draw.uniform(-0.3, settings.blur)
        noise = strength * draw.uniform(0.0, settings.noise) * (255.0 / _NOISE_STEPS)
        tile = tf.gather(tiles, draw.index(_NOISE_TILES))
        planes = [
            channel(image, one) * (1.0 - blur)
            + near * (blur / 16.0)
            + (channel(tile, one) - _NOISE_MIDDLE) * noise
            for one, near in enumerate(binomial(image))
        ]
        return pack([*planes, channel(product, 3)])

    return _Loops(place, scene, light, expose)


class _Numbers(NamedTuple):
    """Random numbers for a batch, some for each loop.

    Attributes:
        uniform: 0 to below 1, float32 `[loops, n, batch]`.
        normal: Of variance 1, float32 `[loops, n, batch]`.
        shared: 0 to below 1, float32 `[loops, n]`.
    """

    uniform: tf.Tensor
    normal: tf.Tensor
    shared: tf.Tensor


def _numbers(batch: int, seeds: tf.Tensor) -> _Numbers:
    """Draws the numbers that belong to an int64 `[2]` seed pair."""

    def seed(kind: int) -> tf.Tensor:
        return seeds * tf.constant([1, 1009], tf.int64) + tf.constant([0, kind], tf.int64)

    return _Numbers(
        tf.random.stateless_uniform([_LOOPS, _UNIFORM, batch], seed(0)),
        tf.random.stateless_normal([_LOOPS, _NORMAL, batch], seed(1)),
        tf.random.stateless_uniform([_LOOPS, _SHARED], seed(2)),
    )


class _Draws:
    """Hands out random numbers, each once."""

    def __init__(self, numbers: _Numbers, loop: int) -> None:
        """Keeps what there is to hand out in a loop."""
        uniform, normal, shared = (iter(tf.unstack(part[loop])) for part in numbers)
        self._uniform, self._normal, self._shared = uniform, normal, shared

    def flat(self, low: float, high: float) -> tf.Tensor:
        """Returns uniform float32 `[batch]`."""
        return low + (high - low) * next(self._uniform)

    def flat_normal(self, deviation: float) -> tf.Tensor:
        """Returns normal float32 `[batch]`."""
        return deviation * next(self._normal)

    def uniform(self, low: float, high: float) -> tf.Tensor:
        """Returns uniform float32 `[batch, 1, 1]`."""
        return self.flat(low, high)[:, None, None]

    def normal(self, deviation: float) -> tf.Tensor:
        """Returns normal float32 `[batch, 1, 1]`."""
        return self.flat_normal(deviation)[:, None, None]

    def chance(self, share: float) -> tf.Tensor:
        """Returns 1.0 for a share of the batch and 0.0 for the rest, `[batch, 1, 1]`."""
        return tf.cast(self.uniform(0.0, 1.0) < share, tf.float32)

    def index(self, count: int) -> tf.Tensor:
        """Returns int32 `[batch]` in 0 to count - 1."""
        return tf.cast(self.flat(0.0, count), tf.int32)

    def offset(self, low: int, high: int) -> tf.Tensor:
        """Returns one int32 for the whole batch, in low to high, both included."""
        return low + tf.cast(next(self._shared) * (high + 1 - low), tf.int32)


def _transform(settings: Augmentation, stored: int, input_size: int, draw: _Draws) -> tf.Tensor:
    """Flips, turns, scales, shears and moves each product; see `places`.

    Returns:
        float32 `[6, batch]`, from pixels of the result to those of the stored image.
    """
    scale = draw.flat(*settings.scale) / _CATALOG_FILL
    angle = draw.flat_normal(settings.rotation * math.pi / 180.0)
    stretch = tf.exp(draw.flat(-settings.stretch, settings.stretch))
    shear = draw.flat(-settings.shear, settings.shear)
    flip = tf.where(draw.flat(0.0, 1.0) < 0.5, -1.0, 1.0)
    cos, sin = tf.cos(angle), tf.sin(angle)
    ratio = (stored / input_size) / scale
    a0 = (cos + shear * sin) * stretch * ratio * flip
    a1 = (sin - shear * cos) * stretch * ratio * flip
    b0 = -sin / stretch * ratio
    b1 = cos / stretch * ratio
    centre_in, centre_out = (stored - 1) / 2.0, (input_size - 1) / 2.0
    x = centre_out + draw.flat(-settings.shift, settings.shift) * input_size
    y = centre_out + draw.flat(-settings.shift, settings.shift) * input_size
    a2 = centre_in - a0 * x - a1 * y
    b2 = centre_in - b0 * x - b1 * y
    return tf.stack([a0, a1, a2, b0, b1, b2])


def _planes(size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the rows' and the columns' coordinates, -0.5 to 0.5, ready to broadcast."""
    line = tf.linspace(-0.5, 0.5, size)
    return line[None, :, None], line[None, None, :]


def _scene(textures: tf.Tensor, size: int, draw: _Draws) -> tf.Tensor:
    """Returns a background an image: one texture, or two that meet like a wall and a floor.

    Args:
        textures: uint32 `[n, side, side]`.
        size: Height and width of what is cut out of them.
        draw: Random numbers.

    Returns:
        uint32 `[batch, size, size]`.
    """
    count, side, _ = textures.shape

    def corner() -> tf.Tensor:
        # Not by `[top : top + size]`, which XLA would compile anew for each corner.
        top, left = draw.offset(0, side - size), draw.offset(0, side - size)
        return (draw.index(count) * (side * side) + top * side + left)[:, None, None]

    rows, columns = _planes(size)
    slope, level = draw.normal(0.15), draw.uniform(-0.25, 0.45)
    floor = (rows + slope * columns > level) & (draw.uniform(0.0, 1.0) < 0.3)
    line = tf.range(size)
    within = line[None, :, None] * side + line[None, None, :]
    return tf.gather(tf.reshape(textures, [-1]), tf.where(floor, corner(), corner()) + within)


def _shadow(alpha: tf.Tensor, draw: _Draws) -> tf.Tensor:
    """Returns how much light a soft shadow leaves, float32 `[batch, size, size]`."""
    batch, size, _ = alpha.shape
    cells = math.ceil(size / _SHADOW_CELL)
    room = [0, cells * _SHADOW_CELL - size]
    grid = [batch, cells, _SHADOW_CELL, cells, _SHADOW_CELL]
    coarse = tf.reduce_mean(tf.reshape(tf.pad(alpha, [[0, 0], room, room]), grid), axis=[2, 4])
    for axis, shift in ((1, draw.offset(0, 1)), (2, draw.offset(-1, 1))):
        coarse = tf.gather(coarse, (tf.range(cells) - shift) % cells, axis=axis)
    finer = tf.constant(_interpolation(cells, size))
    # Rows last, and then columns: the large result comes out as it is to be read.
    soft = _times(tf.transpose(coarse, [0, 2, 1]), finer)
    soft = _times(tf.transpose(soft, [0, 2, 1]), finer)
    return 1.0 - soft * draw.uniform(0.0, 0.6) * draw.chance(0.6)


def _times(rows: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Returns `[batch, n, k] x [k, m]` by one product, which is faster than one for each image."""
    batch, count, width = rows.shape
    product = tf.reshape(rows, [batch * count, width]) @ matrix
    return tf.reshape(product, [batch, count, matrix.shape[1]])


def _interpolation(cells: int, size: int) -> npt.NDArray[np.float32]:
    """Returns the matrix `[cells, size]` that interpolates between the middles of cells."""
    at = np.clip((np.arange(size) + 0.5) / _SHADOW_CELL - 0.5, 0, cells - 1)
    return np.maximum(0.0, 1.0 - np.abs(at - np.arange(cells)[:, None])).astype(np.float32)


def _recoloured(
    image: list[tf.Tensor], settings: Augmentation, strength: tf.Tensor, draw: _Draws
) -> list[tf.Tensor]:
    """Changes exposure, white balance, saturation, contrast and gamma of planes in 0..255."""
    exposure = tf.exp(strength * draw.normal(settings.exposure))
    saturation = 1.0 + strength * draw.uniform(-settings.saturation, settings.saturation)
    contrast = 1.0 + strength * draw.uniform(-settings.contrast, settings.contrast * 0.8)
    gamma = strength * draw.uniform(-0.4, 0.4)
    # Saturation, then gain, then contrast about mid grey.
    grey = sum(image) * ((1.0 - saturation) / 3.0)
    level = 127.5 * (1.0 - contrast)

    def recoloured(plane: tf.Tensor) -> tf.Tensor:
        gain = (1.0 + strength * draw.normal(settings.white_balance)) * exposure * contrast
        plane = tf.clip_by_value((grey + plane * saturation) * gain + level, 0.0, 255.0)
        # A parabola through black and white stands in for gamma, which costs ten times as much.
        return plane * (1.0 + gamma - plane * (gamma / 255.0))

    return [recoloured(plane) for plane in image]


def _vignette(size: int, strength: tf.Tensor, draw: _Draws) -> tf.Tensor:
    """Returns how much light the lens leaves, float32 `[batch, size, size]`."""
    rows, columns = _planes(size)
    down, right = rows - draw.uniform(-0.2, 0.2), columns - draw.uniform(-0.2, 0.2)
    return 1.0 - strength * draw.uniform(-0.1, 0.7) * (down * down + right * right)
