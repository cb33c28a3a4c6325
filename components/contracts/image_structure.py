"""Whether an encoded image is whole from its first byte to its last.

Pillow is content once it has all pixels. TensorFlow's decoders refuse a PNG without its end and a
JPEG whose compressed pixels are cut by a stray marker, and one refusal ends a whole batch. So an
image whose structure is not clean is decoded by Pillow and encoded anew.
"""

from __future__ import annotations

import re
import zlib

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SOI, _EOI, _SOS, _DRI = 0xD8, 0xD9, 0xDA, 0xDD
_RESTARTS = range(0xD0, 0xD8)
# What may stand between two scans of a progressive file: Huffman and quantisation tables,
# restart intervals, comments.
_BETWEEN_SCANS = frozenset({0xC4, 0xDB, _DRI, 0xFE, _SOS})
_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)


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


def is_whole_jpeg(data: bytes) -> bool:  # noqa: PLR0911 - A parser says no in many places.
    """Whether segments and scans follow each other up to the end marker, with nothing between."""
    if not data.startswith(bytes([0xFF, _SOI])):
        return False
    place = 2
    in_scan = restarts = False
    while found := _MARKER.search(data, place):
        marker = found[1][0]
        if not in_scan and found.start() != place:
            return False  # Bytes that belong to no segment.
        place = found.end()
        if in_scan and marker in _RESTARTS:
            if not restarts:
                return False
            continue
        if marker == _EOI:
            return in_scan
        if marker in _RESTARTS or marker == _SOI or (in_scan and marker not in _BETWEEN_SCANS):
            return False
        length = int.from_bytes(data[place : place + 2], "big")
        place += length
        if length < 2 or place > len(data):
            return False
        restarts = restarts or marker == _DRI
        # Tables after a scan are followed by the next scan's header, so "in a scan" may end.
        in_scan = marker == _SOS
        if not in_scan and data[place : place + 1] != b"\xff":
            return False
    return False
