"""The door that every image passes before the preprocessing graph sees it.

The graph (TensorFlow) aborts a whole batch on one bad image, so transform, embed and serving all
call `admit` first. It returns bytes that the graph is known to decode to upright sRGB pixels: the
original bytes where they already are that, and a lossless PNG of the corrected pixels where not.
"""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from PIL import Image, ImageCms, ImageOps

from components.contracts.bucket_images import read_object
from components.contracts.errors import SetAsideError
from components.contracts.image_structure import is_whole_jpeg, is_whole_png, jpeg_structure
from components.contracts.web_addresses import shown_uri
from components.contracts.web_images import read_web

_EXIF_ORIENTATION = 0x0112
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
# Formats that the graph decodes itself; everything else is re-encoded as PNG.
_GRAPH_FORMATS = ("JPEG", "PNG")
_REMOTE = {"gs": read_object, "http": read_web, "https": read_web}

# `ImageLimits.max_pixels` decides, below, from the header alone. Pillow's own limit would say the
# same a second time, as a warning, and silencing warnings is not safe between threads.
Image.MAX_IMAGE_PIXELS = None


class BadImageError(SetAsideError):
    """An image that is set aside."""


@dataclass(frozen=True)
class ImageLimits:
    """What an image may be.

    Attributes:
        max_bytes: Largest encoded size, in bytes.
        max_pixels: Largest width x height, checked before any pixel is decoded.
        min_side: Smallest width and height, in pixels.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000
    min_side: int = 8


def local_path(uri: str) -> Path:
    """Returns the local path of a plain path or a `file://` URI."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else Path(uri)


def is_remote(uri: str) -> bool:
    """Says whether a URI names an image in a bucket or on the web, not on this machine."""
    scheme, separator, _ = uri.partition("://")
    return bool(separator) and scheme.lower() in _REMOTE


def read_image(uri: str, limits: ImageLimits | None = None) -> bytes:
    """Reads an image's bytes.

    Args:
        uri: A local path, or a `file://`, `gs://`, `http://` or `https://` URI.
        limits: Bounds on the size that is read into memory.

    Raises:
        BadImageError: `missing_image`, `empty_image`, `unreadable_image` or `too_many_bytes`; for
            an image elsewhere also `unreachable_image` (no answer after several tries) or
            `refused_address` (not a public http(s) address).
    """
    limits = limits or ImageLimits()
    if is_remote(uri):
        return _read_remote(uri, limits)
    path = local_path(uri)
    try:
        data = _read_file(path, uri, limits.max_bytes + 1)
    except FileNotFoundError:
        raise BadImageError("missing_image", f"{uri}: expected an image, found no file") from None
    except OSError as error:
        raise BadImageError(
            "unreadable_image", f"{uri}: cannot be read ({error.strerror})"
        ) from None
    except ValueError as error:
        if isinstance(error, BadImageError):
            raise
        raise BadImageError("unreadable_image", f"{uri!r}: not a path ({error})") from None
    if not data:
        raise BadImageError("empty_image", f"{uri}: expected an image, found an empty file")
    if len(data) > limits.max_bytes:
        raise BadImageError(
            "too_many_bytes", f"{uri}: expected at most {limits.max_bytes} bytes, found more"
        )
    return data


def _read_file(path: Path, uri: str, most: int) -> bytes:
    """Returns a file's first `most` bytes.

    Python's file objects cost as much a small image as reading it does.
    """
    # Without O_NONBLOCK a named pipe in the catalog would hold the step for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadImageError("unreadable_image", f"{uri}: expected a file, found another")
        # One more than there should be, so that one call shows the end; networks give parts.
        data = os.read(descriptor, min(status.st_size + 1, most))
        while len(data) < most and len(data) != status.st_size:
            more = os.read(descriptor, most - len(data))
            if not more:
                break
            data += more
        return data
    finally:
        os.close(descriptor)


def _read_remote(uri: str, limits: ImageLimits) -> bytes:
    scheme = uri.partition("://")[0].lower()
    try:
        data = _REMOTE[scheme](uri, limits.max_bytes)
    except SetAsideError as error:
        raise BadImageError(error.reason, str(error)) from None
    if not data:
        raise BadImageError(
            "empty_image", f"{shown_uri(uri)}: expected an image, received no bytes"
        )
    return data


def probe(data: bytes, limits: ImageLimits | None = None) -> tuple[str, int, int]:
    """Returns format, width and height from the header alone, decoding no pixel.

    Raises:
        BadImageError: `not_an_image`, `too_many_bytes`, `too_many_pixels` or `too_small`.
    """
    with _open(data, limits or ImageLimits()) as image:
        return str(image.format), image.width, image.height


def admit(data: bytes, limits: ImageLimits | None = None) -> bytes:
    """Checks an image fully and returns bytes that the preprocessing graph decodes safely.

    Applies the EXIF orientation, converts colour profiles, CMYK, palettes and 16 bits to 8-bit
    sRGB, puts transparency on white, and takes the first frame of an animation.

    Args:
        data: The encoded image as it came.
        limits: Bounds, checked before decoding.

    Returns:
        The same bytes when they already decode to upright RGB or grey pixels, else a PNG.

    Raises:
        BadImageError: `empty_image`, `not_an_image`, `truncated_image`, `too_many_bytes`,
            `too_many_pixels` or `too_small`.
    """
    limits = limits or ImageLimits()
    with _open(data, limits) as image:
        try:
            # Decoding comes first: for a PNG, asking for EXIF may decode it.
            image.load()
            orientation = _orientation(image)
            profile = image.info.get("icc_profile")
            if (
                image.format in _GRAPH_FORMATS
                and image.mode in ("RGB", "L")
                and "transparency" not in image.info
                and orientation == 1
                and not profile
                and not getattr(image, "is_animated", False)
                and (is_whole_png(data) or is_whole_jpeg(data))
            ):
                return data
            upright = ImageOps.exif_transpose(image) if orientation != 1 else image
            pixels = _srgb(upright, profile)
        # Decoders raise many kinds of errors on hostile bytes; every one means a bad image, and
        # none may reach the batch or the request that other images are part of.
        except Exception as error:
            raise BadImageError(
                "truncated_image", f"expected a whole image, decoding it failed ({error})"
            ) from None
    buffer = io.BytesIO()
    pixels.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def plain_jpeg(data: bytes, limits: ImageLimits | None = None) -> tuple[int, int] | None:
    """Looks whether `admit` would return a JPEG as it is, without decoding a pixel.

    It costs a tenth of `admit`. What is damaged between whole markers is left to the graph to
    find, so it is for those whose batches bear a bad image.

    Args:
        data: The encoded image as it came.
        limits: Bounds.

    Returns:
        Width and height in pixels; None for what must go through `admit`, good or bad.
    """
    limits = limits or ImageLimits()
    structure = jpeg_structure(data)
    if structure is None:
        return None
    if structure.size and structure.channels in (1, 3) and not structure.has_metadata:
        width, height = structure.size
        fits = (
            len(data) <= limits.max_bytes
            and width * height <= limits.max_pixels
            and min(width, height) >= limits.min_side
        )
        return structure.size if fits else None
    # Pillow knows what the metadata mean, at ten times the time.
    try:
        with _open(data, limits) as image:
            plain = (
                image.format == "JPEG"
                and image.mode in ("RGB", "L")
                and not image.info.get("icc_profile")
                and _orientation(image) == 1
            )
            return image.size if plain else None
    except BadImageError:
        return None


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 (upright) when there is none or it cannot be read."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # Broken metadata is no reason to lose the pixels.
        return 1
    return orientation if orientation in range(1, 9) else 1


def _open(data: bytes, limits: ImageLimits) -> Image.Image:
    if not data:
        raise BadImageError("empty_image", "expected an image, received no bytes")
    if len(data) > limits.max_bytes:
        raise BadImageError(
            "too_many_bytes",
            f"expected at most {limits.max_bytes} bytes, received {len(data)}",
        )
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    # As in `admit`: whatever a parser raises on hostile bytes, they are no image. Its own words
    # hold an address in memory, which would make each run's rejects differ.
    except Exception:
        raise BadImageError(
            "not_an_image", f"expected {', '.join(_FORMATS)}, received something else"
        ) from None
    if image.width * image.height > limits.max_pixels:
        raise BadImageError(
            "too_many_pixels",
            f"expected at most {limits.max_pixels} pixels, received {image.width} x {image.height}",
        )
    if min(image.width, image.height) < limits.min_side:
        raise BadImageError(
            "too_small",
            f"expected sides of at least {limits.min_side} pixels, received "
            f"{image.width} x {image.height}",
        )
    return image


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Returns 8-bit RGB pixels with transparency on white."""
    if image.mode.startswith("I") or image.mode == "F":
        # Only 16-bit PNGs open like this; their white is 65535 however dark the picture is.
        image = image.convert("F").point(lambda value: value * (255.0 / 65535.0)).convert("L")
    if profile and image.mode in ("RGB", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            image = converted or image
        except (ImageCms.PyCMSError, OSError):
            pass  # A broken profile is worth less than the pixels: they are read as sRGB.
    if image.mode in ("RGBA", "LA", "PA", "P") or "transparency" in image.info:
        layer = image.convert("RGBA")
        background = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(background, layer)
    return image.convert("RGB")
