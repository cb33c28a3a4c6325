"""Pictures as raters see them: the same kind, size limit and encoding, whichever system found it.

A file's format, size, age or metadata could tell a catalog photo of one system from another's, so
every picture is decoded, freed of its metadata and encoded anew.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict

from PIL import Image

from components.contracts.images import BadImageError, ImageLimits, admit
from components.registry.object_store import ObjectNotFoundError, ObjectStore

KIND = "image/jpeg"
_QUALITY = 88
_CACHE_BYTES = 192 * 1024 * 1024


class Pictures:
    """The copied images of one campaign, encoded anew and kept in memory while there is room."""

    def __init__(
        self, store: ObjectStore, prefix: str, *, side: int = 900, cache_bytes: int = _CACHE_BYTES
    ) -> None:
        """Opens the pictures without touching the store.

        Args:
            store: The registry's store.
            prefix: The campaign's, such as `campaigns/prod/1f2e.../`.
            side: Longest side, in pixels; smaller pictures are not enlarged.
            cache_bytes: Most memory for encoded pictures, in bytes.
        """
        self._store = store
        self._prefix = prefix
        self._side = side
        self._room = cache_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._bytes = 0

    def read(self, name: str, *, side: int = 0) -> bytes:
        """Returns a picture as a JPEG without metadata.

        Args:
            name: Its path in the campaign, such as `images/0a1b....jpg`.
            side: Longest side in pixels; 0 for that of rating.

        Raises:
            BadImageError: It is missing or cannot be decoded.
        """
        key = (name, min(side or self._side, self._side))
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        try:
            data, _ = self._store.read(f"{self._prefix}{name}")
        except ObjectNotFoundError:
            raise BadImageError("missing_image", f"{name}: not in the campaign") from None
        picture = _encode(data, key[1])
        with self._lock:
            if key not in self._kept:
                self._kept[key] = picture
                self._bytes += len(picture)
            while self._bytes > self._room:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped)
        return picture


def _encode(data: bytes, side: int) -> bytes:
    with Image.open(io.BytesIO(admit(data, ImageLimits()))) as image:
        pixels = image.convert("RGB")
        pixels.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        pixels.save(buffer, format="JPEG", quality=_QUALITY)
    return buffer.getvalue()
