"""What an image looks like in 296 bytes, so that copies of it can be found again.

A copy is the same picture saved again: recompressed, resized, a little lighter or darker. Another
view of the product, or another product that looks like it, is none.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Bytes = npt.NDArray[np.uint8]

HASH_BYTES = 8
_COLOUR_SIDE = 4
COLOUR_BYTES = _COLOUR_SIDE * _COLOUR_SIDE * 3
_SIDE = 32
_COARSE, _FINE, _SHAPE = 8, 16, 4
DETAIL_BYTES = _FINE * _FINE - _SHAPE * _SHAPE
FINGERPRINT_BYTES = HASH_BYTES + COLOUR_BYTES + DETAIL_BYTES
"""First the hash, then the colours (uint8), then the detail (int8)."""
VERSION = 1
"""Goes up when the same image would get other bytes."""

_LARGEST_DECODED = 50_000_000
# Root of the energy (grey levels x pixels of 32x32) below which an image is of one colour; noise
# alone decides its bits. The faintest product of homegoods (white on white) has 34.
_FEATURELESS = 16.0


def _dct_matrix(side: int) -> npt.NDArray[np.float64]:
    """Returns the orthonormal DCT-II: rows are frequencies."""
    k = np.arange(side)
    matrix = np.cos(np.pi * (2 * k[None, :] + 1) * k[:, None] / (2 * side)) * np.sqrt(2 / side)
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix, np.float64)


_DCT = _dct_matrix(_SIDE)
_IS_DETAIL = np.ones((_FINE, _FINE), np.bool_)
_IS_DETAIL[:_SHAPE, :_SHAPE] = False


def fingerprint(data: bytes) -> bytes:
    """Returns an image's fingerprint, empty where it has none.

    The hash is pHash: which of the 8x8 lowest frequencies of a 32x32 DCT of the luminance lie
    above their median (Zauner, "Implementation and benchmarking of perceptual image hash
    functions", 2010). Product photos on white agree in it far too often, so two more things are
    kept: the mean colours of 4x4 fields, and the signed strengths of the 16x16 lowest frequencies
    without the 4x4 lowest, which say where the product is and not what it is.

    Args:
        data: The encoded image.

    Returns:
        `FINGERPRINT_BYTES` bytes; none where the image cannot be decoded or shows nothing.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > _LARGEST_DECODED:
                return b""
            # A JPEG is decoded no larger than need be.
            image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
            small = _upright_rgb(image).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    # What a broken file makes the decoder raise is told by the transform step, not here.
    except Exception:
        return b""
    return of_pixels(np.asarray(small))


def of_pixels(pixels: Bytes) -> bytes:
    """Returns the fingerprint of uint8 pixels [32, 32, 3], empty where they show nothing."""
    values = pixels.astype(np.float64)
    spectrum = _DCT @ (values @ np.array([0.299, 0.587, 0.114])) @ _DCT.T
    low = spectrum[:_COARSE, :_COARSE].ravel()
    detail = spectrum[:_FINE, :_FINE][_IS_DETAIL]
    strongest = np.abs(detail).max()
    if np.linalg.norm(low[1:]) < _FEATURELESS or strongest < 1.0:
        return b""
    fields = (_COLOUR_SIDE, _SIDE // _COLOUR_SIDE) * 2
    colours = np.rint(values.reshape(*fields, 3).mean(axis=(1, 3)))
    parts = (
        np.packbits(low > np.median(low[1:])),
        colours.astype(np.uint8).ravel(),
        np.rint(detail * (127 / strongest)).astype(np.int8).view(np.uint8),
    )
    return np.concatenate(parts).tobytes()


def _upright_rgb(image: Any) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("RGBA", "LA", "PA", "P") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        upright = Image.alpha_composite(white, layer)
    return Image.Image.convert(upright, "RGB")
