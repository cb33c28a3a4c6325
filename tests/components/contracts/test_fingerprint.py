import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from components.contracts.fingerprint import FINGERPRINT_BYTES, HASH_BYTES, fingerprint, of_pixels
from components.contracts.near_duplicates import copies


def encode(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photo(dev_mini):
    path = sorted((dev_mini / "images").glob("*.jpg"))[5]
    return Image.open(path).convert("RGB").resize((256, 256))


def rows(*images):
    return [np.frombuffer(fingerprint(data), np.uint8)[None] for data in images]


CHANGES = {
    "recompressed": lambda image: encode(image, quality=40),
    "as a PNG": lambda image: encode(image, "PNG"),
    "half the size": lambda image: encode(image.resize((128, 128)), quality=85),
    "twice the size": lambda image: encode(image.resize((512, 512)), quality=85),
    "lighter": lambda image: encode(ImageEnhance.Brightness(image).enhance(1.03)),
    "darker": lambda image: encode(ImageEnhance.Brightness(image).enhance(0.95)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_looks_the_same(photo, change):
    ours, theirs = rows(encode(photo, quality=85), CHANGES[change](photo))
    assert np.bitwise_count(ours[0, :HASH_BYTES] ^ theirs[0, :HASH_BYTES]).sum() <= 6
    assert copies(ours, theirs).tolist() == [True]


def test_a_mirrored_recoloured_or_other_picture_does_not(photo, dev_mini):
    ours = encode(photo)
    red, green, blue = photo.split()
    # Inverted red: the same edges, other colours.
    recoloured = Image.merge("RGB", (red.point(lambda value: 255 - value), green, blue))
    other = sorted((dev_mini / "images").glob("*.jpg"))[60].read_bytes()
    for data in (encode(photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)), other):
        left, right = rows(ours, data)
        assert not copies(left, right)[0]
    left, right = rows(ours, encode(recoloured))
    assert not copies(left, right)[0]


def test_the_hash_is_the_median_rule_on_the_low_frequencies():
    # One pure frequency, 2 down and 3 across: only its bit, and half of the zeros, can be set.
    k = np.arange(32)
    wave = np.outer(np.cos(np.pi * (2 * k + 1) * 2 / 64), np.cos(np.pi * (2 * k + 1) * 6 / 64))
    pixels = np.repeat(np.rint(128 + 100 * wave).astype(np.uint8)[:, :, None], 3, axis=2)
    found = np.frombuffer(of_pixels(pixels), np.uint8)
    bits = np.unpackbits(found[:HASH_BYTES]).reshape(8, 8)
    assert bits[2, 6] == 1
    assert bits[0, 0] == 1  # The mean, which is no negative number.
    negative = np.frombuffer(of_pixels(255 - pixels), np.uint8)
    assert np.unpackbits(negative[:HASH_BYTES]).reshape(8, 8)[2, 6] == 0
    # Detail row by row, without the 4x4 lowest: (2, 6) is the 12+12+3rd of the 16x16, signed.
    detail = found[-240:].view(np.int8)
    assert detail.argmax() == 2 * 12 + 2
    assert detail.max() == 127
    colours = found[HASH_BYTES:-240].reshape(4, 4, 3)
    assert colours[0, 0].tolist() == np.rint(pixels[:8, :8].mean(axis=(0, 1))).tolist()


def test_what_shows_nothing_has_no_fingerprint():
    assert fingerprint(encode(Image.new("RGB", (64, 64), (250, 250, 250)))) == b""
    assert fingerprint(b"no image") == b""
    data = encode(Image.radial_gradient("L").convert("RGB"))
    assert len(fingerprint(data)) == FINGERPRINT_BYTES
    assert fingerprint(data[:200]) == b""


def test_orientation_and_transparency_are_what_people_see(photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(photo.transpose(Image.Transpose.ROTATE_90), exif=exif, quality=90)
    layer = photo.convert("RGBA")
    pixels = np.asarray(layer).copy()
    pixels[(pixels[:, :, :3] > 250).all(axis=2)] = 0
    transparent = encode(Image.fromarray(pixels), "PNG")
    for data in (turned, transparent):
        left, right = rows(encode(photo, quality=90), data)
        assert copies(left, right)[0]
