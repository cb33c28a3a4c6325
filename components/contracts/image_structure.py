"""Whether an encoded image is whole from its first byte to its last.

Pillow is content once it has all pixels. TensorFlow's decoders refuse a PNG without its end and a
JPEG whose compressed pixels are cut by a stray marker, and one refusal ends a whole batch. So an
image whose structure is not clean is decoded by Pillow and encoded anew.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SOI, _EOI, _SOS, _DRI = 0xD8, 0xD9, 0xDA, 0xDD
_RESTARTS = range(0xD0, 0xD8)
# What may stand between two scans of a progressive file: Huffman and quantisation tables,
# restart intervals, comments.
_BETWEEN_SCANS = frozenset({0xC4, 0xDB, _DRI, 0xFE, _SOS})
# Frame headers: of any kind, and those that every decoder takes (baseline to progressive).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_COMMON_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
# All application segments but JFIF's own.
_METADATA = frozenset(range(0xE1, 0xF0))
# Not `\xff+`: what begins with one certain byte is searched for ten times as fast.
_MARKER = re.compile(rb"\xff\xff*([^\x00\xff])", re.DOTALL)


def is_whole_png(data: bytes) -> bool:
    """Whether every chunk up to IEND is there with its checksum."""
    if not data.startswith(_PNG_SIGNATURE):
        return False
    place = len(_PNG_SIGNATURE)
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        checksum = data[end : end + 4]
        if len(checksum) < 4 or zlib.crc32(data[place + 4 : end]) != int.from_bytes(
            checksum, "big"
        ):
            return False
        if data[place + 4 : place + 8] == b"IEND":
            return True
        place = end + 4
    return False


class JpegStructure(NamedTuple):
    """What the markers of a whole JPEG say.

    Attributes:
        size: Width and height in pixels; None where the frame is of a rare kind: arithmetic
            coding, lossless, 12 bits, or more than one frame.
        channels: Number of colour components; 0 without a size.
        has_metadata: Whether there are segments that may change how pixels are meant: EXIF,
            colour profiles, Adobe's transform, further pictures.
    """

    size: tuple[int, int] | None
    channels: int
    has_metadata: bool


def is_whole_jpeg(data: bytes) -> bool:
    """Whether segments and scans follow each other up to the end marker, with nothing between."""
    return jpeg_structure(data) is not None


def jpeg_structure(data: bytes) -> JpegStructure | None:  # noqa: PLR0911 - A parser often says no.
    """Returns what a JPEG's markers say; None unless it is whole, as `is_whole_jpeg` has it."""
    if not data.startswith(bytes([0xFF, _SOI])):
        return None
    place = 2
    in_scan = restarts = has_metadata = False
    frames: list[bytes] = []
    while found := _MARKER.search(data, place):
        marker = found[1][0]
        if not in_scan and found.start() != place:
            return None  # Bytes that belong to no segment.
        place = found.end()
        if in_scan and marker in _RESTARTS:
            if not restarts:
                return None
            continue
        if marker == _EOI:
            return _structure(frames, has_metadata) if in_scan else None
        if marker in _RESTARTS or marker == _SOI or (in_scan and marker not in _BETWEEN_SCANS):
            return None
        length = int.from_bytes(data[place : place + 2], "big")
        if marker in _FRAMES:
            frames.append(bytes([marker]) + data[place : place + length])
        place += length
        if length < 2 or place > len(data):
            return None
        restarts = restarts or marker == _DRI
        has_metadata = has_metadata or marker in _METADATA
        # Tables after a scan are followed by the next scan's header, so "in a scan" may end.
        in_scan = marker == _SOS
        if not in_scan and data[place : place + 1] != b"\xff":
            return None
    return None


def _structure(frames: Sequence[bytes], has_metadata: bool) -> JpegStructure:
    """Reads the one frame header: marker, length, bits, height, width, components, 3 bytes each."""
    if len(frames) == 1 and frames[0][0] in _COMMON_FRAMES and len(frames[0]) >= 9:
        frame = frames[0]
        height, width = (int.from_bytes(frame[at : at + 2], "big") for at in (4, 6))
        channels = frame[8]
        if frame[3] == 8 and height and width and len(frame) == 9 + 3 * channels:
            return JpegStructure((width, height), channels, has_metadata)
    return JpegStructure(None, 0, has_metadata)
