import io

import numpy as np
import pytest
from PIL import Image

from components.contracts.image_structure import is_whole_jpeg, is_whole_png


def encode(kind, **options):
    noise = np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"comment": "hello"}]
)
def test_whole_jpegs(options):
    data = encode("JPEG", **options)
    assert is_whole_jpeg(data)
    assert is_whole_jpeg(data + b"trailing bytes are nobody's business")


def test_a_jpeg_is_not_whole_without_its_end_or_with_a_stray_marker():
    data = encode("JPEG")
    scan = data.index(b"\xff\xda") + 40
    assert not is_whole_jpeg(data[:-2])
    assert not is_whole_jpeg(data[:scan])
    # An application segment, or a restart nobody announced, in the middle of the pixels.
    assert not is_whole_jpeg(data[:scan] + b"\xff\xe1\x00\x04ab" + data[scan:])
    assert not is_whole_jpeg(data[:scan] + b"\xff\xd0" + data[scan:])
    # Bytes between two segments.
    assert not is_whole_jpeg(data[:20] + b"xx" + data[20:])
    assert not is_whole_jpeg(b"")
    assert not is_whole_jpeg(encode("PNG"))


def test_whole_pngs():
    data = encode("PNG")
    assert is_whole_png(data)
    assert is_whole_png(data + b"trailing")


def test_a_png_is_not_whole_with_any_byte_missing_or_changed():
    data = encode("PNG")
    assert not any(is_whole_png(data[:length]) for length in range(0, len(data), 97))
    assert not is_whole_png(data[:-1])
    for place in range(8, len(data), 501):
        changed = bytearray(data)
        changed[place] ^= 0x40
        assert not is_whole_png(bytes(changed))
    assert not is_whole_png(encode("JPEG"))
