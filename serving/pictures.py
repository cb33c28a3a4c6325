"""Catalog pictures, shown only when they are still what was indexed.

The path comes from the bundle, never from a request; the file's SHA-256 must be the one that the
catalog step recorded; and it must be an image. So no other file of this machine can be read.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from urllib.parse import urlsplit

from PIL import Image

from components.contracts.catalog import Item
from components.contracts.files import sha256_bytes
from components.contracts.images import BadImageError, ImageLimits, admit, probe, read_image

THUMBNAIL_SIDE = 224
_QUALITY = 82


def thumbnail(data: bytes, *, side: int = THUMBNAIL_SIDE) -> bytes:
    """Returns an admitted image as a JPEG of at most `side` pixels a side."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (side, side))
        small = image.convert("RGB")
        small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=_QUALITY)
    return buffer.getvalue()


class Pictures:
    """Reads catalog pictures and keeps the latest thumbnails in memory."""

    def __init__(self, *, enabled: bool, limits: ImageLimits, kept: int = 4096) -> None:
        """Starts with nothing kept.

        Args:
            enabled: Whether pictures are shown at all.
            limits: What a picture may be.
            kept: How many thumbnails to keep, some 10 KB each.
        """
        self.enabled = enabled
        self._limits = limits
        self._kept = kept
        self._thumbnails: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def original(self, item: Item) -> tuple[bytes, str]:
        """Returns a picture's bytes and media type.

        Raises:
            BadImageError: It is not a local file, is gone, has changed, or is no image.
        """
        if urlsplit(item.image).scheme not in ("", "file"):
            raise BadImageError("not_local", "the picture is not a file on this machine")
        try:
            data = read_image(item.image, self._limits)
        except BadImageError as error:
            # The path of a file on this machine is nothing to tell a client.
            raise BadImageError(error.reason, "the picture's file cannot be read") from None
        if sha256_bytes(data) != item.content_hash:
            raise BadImageError("changed_image", "the picture is no longer the one indexed")
        kind, _, _ = probe(data, self._limits)
        return data, f"image/{kind.lower()}"

    def thumbnail(self, item: Item) -> bytes:
        """Returns a small JPEG of an item.

        Raises:
            BadImageError: As `original`.
        """
        key = item.content_hash
        with self._lock:
            if key in self._thumbnails:
                self._thumbnails.move_to_end(key)
                return self._thumbnails[key]
        data, _ = self.original(item)
        small = thumbnail(admit(data, self._limits))
        with self._lock:
            self._thumbnails[key] = small
            while len(self._thumbnails) > self._kept:
                self._thumbnails.popitem(last=False)
        return small
