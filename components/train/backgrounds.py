"""Procedural textures that stand in for the world behind a shopper's product.

The textures are generic on purpose (flat colour, gradient, cloud, grain, waves, tiles, checks,
veins): they teach an encoder to ignore what is behind a product without imitating any photo.
"""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[np.float32]


def procedural_textures(*, count: int, size: int, seed: int) -> npt.NDArray[np.uint8]:
    """Draws random textures.

    Args:
        count: How many textures.
        size: Height and width in pixels.
        seed: Seed of the generator; the same seed gives the same textures.

    Returns:
        uint8 `[count, size, size, 3]`.
    """
    rng = np.random.default_rng(seed)
    kinds = (_flat, _gradient, _cloud, _grain, _waves, _tiles, _checks, _veins)
    textures = np.empty((count, size, size, 3), np.uint8)
    for index in range(count):
        blend = np.clip(kinds[rng.integers(len(kinds))](rng, size), -0.3, 1.3)[..., None]
        first = _colour(rng)
        second = _colour(rng) if rng.random() < 0.35 else _neighbour(rng, first)
        texture = first * (1 - blend) + second * blend
        if rng.random() < 0.4:
            speckle = rng.normal(0, rng.uniform(0, 0.06), (size, size, 1))
            texture = texture + speckle.astype(np.float32)
        textures[index] = np.clip(texture * 255 + 0.5, 0, 255).astype(np.uint8)
    return textures


def _colour(rng: np.random.Generator) -> _Array:
    """Returns one RGB colour in 0..1, dull ones more often than vivid ones."""
    saturation = 0.9 * rng.random() ** 1.5
    value = 0.1 + 0.9 * rng.random()
    return np.array(colorsys.hsv_to_rgb(rng.random(), saturation, value), np.float32)


def _neighbour(rng: np.random.Generator, colour: _Array) -> _Array:
    """Returns a lighter or darker relative of a colour."""
    relative = colour * rng.uniform(0.4, 1.6) + rng.normal(0, 0.05, 3)
    return np.clip(relative, 0, 1).astype(np.float32)


def _axes(rng: np.random.Generator, size: int) -> tuple[_Array, _Array]:
    """Returns two perpendicular coordinate planes, turned by a random angle."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _noise(
    rng: np.random.Generator,
    size: int,
    cells: tuple[int, ...],
    persistence: float,
    stretch: tuple[float, float] = (1.0, 1.0),
) -> _Array:
    """Returns value noise of unit variance: a sum of octaves of bilinear random grids.

    Args:
        rng: Source of randomness.
        size: Height and width in pixels.
        cells: Grid cells across the image, one number an octave.
        persistence: Amplitude of each octave relative to the one before.
        stretch: Factors on the number of cells down and across.
    """
    total = np.zeros((size, size), np.float32)
    weight = 1.0
    for across in cells:
        rows, columns = (max(2, int(across * factor)) for factor in stretch)
        grid = rng.standard_normal((rows + 1, columns + 1)).astype(np.float32)
        y, x = np.linspace(0, rows, size), np.linspace(0, columns, size)
        top, left = np.minimum(y.astype(int), rows - 1), np.minimum(x.astype(int), columns - 1)
        down, right = (y - top)[:, None], (x - left)[None]
        upper = grid[top][:, left] * (1 - right) + grid[top][:, left + 1] * right
        lower = grid[top + 1][:, left] * (1 - right) + grid[top + 1][:, left + 1] * right
        total += np.float32(weight) * (upper * (1 - down) + lower * down).astype(np.float32)
        weight *= persistence
    return np.asarray(total / (total.std() + 1e-6), np.float32)


def _flat(rng: np.random.Generator, size: int) -> _Array:
    """One colour."""
    return np.full((size, size), rng.random(), np.float32)


def _gradient(rng: np.random.Generator, size: int) -> _Array:
    """A linear ramp."""
    u, _ = _axes(rng, size)
    return np.asarray((u - u.min()) / (np.ptp(u) + np.float32(1e-6)), np.float32)


def _cloud(rng: np.random.Generator, size: int) -> _Array:
    """Soft blotches, as on plaster or stone."""
    return 0.5 + 0.25 * _noise(rng, size, (2, 4, 8, 16, 32), rng.uniform(0.4, 0.9))


def _grain(rng: np.random.Generator, size: int) -> _Array:
    """Fine grain, sometimes drawn out in one direction."""
    stretch = [(1.0, 1.0), (1.0, 1.0), (0.4, 1.6), (1.6, 0.4)][rng.integers(4)]
    cells = (int(rng.uniform(10, 24)), int(rng.uniform(24, 60)))
    return 0.5 + np.float32(0.3) * _noise(rng, size, cells, rng.uniform(0.7, 1.3), stretch)


def _waves(rng: np.random.Generator, size: int) -> _Array:
    """Bent stripes, sometimes in planks."""
    u, _ = _axes(rng, size)
    bend = _noise(rng, size, (2, 4, 8), 0.6) * rng.uniform(0.01, 0.08)
    stripes = 0.5 + 0.35 * np.sin(2 * np.pi * rng.uniform(3, 14) * (u + bend))
    stripes = stripes + 0.12 * _noise(rng, size, (4, 32), 1.0, (0.3, 2.0))
    if rng.random() < 0.5:
        stripes = stripes + 0.2 * np.sin(np.floor(u * rng.uniform(2, 6)) * 12.9898)
    return np.asarray(stripes, np.float32)


def _tiles(rng: np.random.Generator, size: int) -> _Array:
    """Tiles or bricks with joints, each in its own shade."""
    u, v = _axes(rng, size)
    if rng.random() < 0.6:
        v, u = np.mgrid[0:size, 0:size].astype(np.float32) / size
    across = rng.uniform(2, 8)
    row = np.floor(v * across)
    along = u * across + (0.5 if rng.random() < 0.5 else 0.0) * (row % 2)
    shade = np.sin(np.floor(along) * 127.1 + row * 311.7) * 43758.5453
    shade = 0.3 + 0.4 * rng.random() * (shade - np.floor(shade))
    joint = rng.uniform(0.03, 0.12)
    in_joint = (along % 1 < joint) | ((v * across) % 1 < joint)
    tiles = np.where(in_joint, 1.0, shade) + 0.05 * _noise(rng, size, (8, 32), 0.8)
    return np.asarray(tiles, np.float32)


def _checks(rng: np.random.Generator, size: int) -> _Array:
    """Stripes or checks with soft or hard edges."""
    u, v = _axes(rng, size)
    turns = 2 * np.pi * rng.uniform(2, 10)
    wave = np.sin(turns * u)
    if rng.random() < 0.5:
        wave = wave * np.sin(turns * v)
    return np.asarray(1 / (1 + np.exp(-wave * rng.uniform(1, 12))), np.float32)


def _veins(rng: np.random.Generator, size: int) -> _Array:
    """Thin wandering lines over soft blotches."""
    u, _ = _axes(rng, size)
    distance = np.abs(_noise(rng, size, (3, 6, 12, 24), 0.7) + 2 * u * rng.random())
    veins = np.exp(-((distance / rng.uniform(0.05, 0.3)) ** 2)) * rng.uniform(0.3, 1)
    return np.asarray(veins + 0.08 * _noise(rng, size, (3, 9), 0.6), np.float32)
