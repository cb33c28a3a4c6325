import io
import os
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from components.contracts import images
from components.contracts.images import (
    BadImageError,
    ImageLimits,
    admit,
    plain_jpeg,
    probe,
    read_image,
)

RED, BLUE, WHITE = (200, 30, 40), (20, 40, 210), (255, 255, 255)


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def upright(size=(32, 24)):
    """Red above blue: any rotation or flip shows."""
    image = Image.new("RGB", size, BLUE)
    image.paste(RED, (0, 0, size[0], size[1] // 2))
    return image


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode in ("RGB", "L")
        return np.asarray(image.convert("RGB")).astype(int)


def looks_like(data, expected, tolerance=4):
    found = pixels(data)
    wanted = np.asarray(expected.convert("RGB")).astype(int)
    return found.shape == wanted.shape and np.abs(found - wanted).max() <= tolerance


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": 1})]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_images_pass_unchanged(kind, options, mode):
    data = encode(upright().convert(mode), kind, **options)
    assert admit(data) is data


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_plain_jpeg_is_known_by_its_header_and_markers(mode):
    data = encode(upright().convert(mode), "JPEG", progressive=1)
    assert plain_jpeg(data) == (32, 24)
    assert plain_jpeg(data[:-40]) is None
    assert plain_jpeg(data, ImageLimits(max_pixels=100)) is None
    assert plain_jpeg(encode(upright().convert(mode))) is None
    assert plain_jpeg(b"") is None


def test_a_plain_jpeg_keeps_the_limits_whether_it_has_metadata_or_not():
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    for data in (encode(upright(), "JPEG"), encode(upright(), "JPEG", exif=exif)):
        assert plain_jpeg(data) == (32, 24)
        assert plain_jpeg(data, ImageLimits(max_bytes=len(data) - 1)) is None
        assert plain_jpeg(data, ImageLimits(max_pixels=32 * 24 - 1)) is None
        assert plain_jpeg(data, ImageLimits(min_side=25)) is None


@pytest.mark.parametrize(
    ("at", "value"), [(2, 12), (3, 255), (5, 0), (7, 4)], ids=["bits", "height", "width", "parts"]
)
def test_an_odd_frame_is_left_to_those_who_know_more(at, value):
    data = bytearray(encode(upright(), "JPEG"))
    frame = data.index(b"\xff\xc0") + 2
    assert data[frame + 2] == 8
    data[frame + at : frame + at + (2 if value == 0 else 1)] = bytes(2 if value == 0 else [value])
    found = plain_jpeg(bytes(data), ImageLimits(max_pixels=100_000))
    assert found is None


def test_what_admit_corrects_is_no_plain_jpeg():
    exif = Image.Exif()
    exif[0x0112] = 3
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for data in (
        encode(upright(), "JPEG", exif=exif),
        encode(upright(), "JPEG", icc_profile=profile),
        encode(upright().convert("CMYK"), "JPEG"),
    ):
        assert admit(data) is not data
        assert plain_jpeg(data) is None


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(orientation, kind):
    # What each value says must be done to the stored pixels, after the EXIF standard; so its
    # inverse stores an image that is upright once the value is obeyed.
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]
    picture = upright()
    picture.paste(WHITE, (0, 0, 16, 8))
    stored = picture
    for step in undo:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    assert looks_like(admit(encode(stored, kind, exif=exif, **options)), picture, 12)


def test_transparency_is_put_on_white():
    image = upright().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 8, 24))
    expected = upright()
    expected.paste(WHITE, (0, 0, 8, 24))
    assert looks_like(admit(encode(image)), expected, 0)


def test_half_transparency_is_mixed_with_white():
    image = Image.new("RGBA", (16, 16), (100, 0, 0, 128))
    # 100 * 128/255 + 255 * 127/255 = 177.2; 0 * ... + 127 = 127.
    assert pixels(admit(encode(image)))[3, 3] == pytest.approx([177, 127, 127], abs=1)


def test_palettes_and_their_transparent_colour_are_resolved():
    image = upright().quantize(4)
    assert looks_like(admit(encode(image)), upright(), 2)
    index = image.getpixel((0, 23))
    expected = Image.new("RGB", (32, 24), WHITE)
    expected.paste(RED, (0, 0, 32, 12))
    assert looks_like(admit(encode(image, transparency=index)), expected, 2)


def test_a_transparent_colour_of_rgb_is_resolved():
    expected = upright()
    expected.paste(WHITE, (0, 12, 32, 24))
    assert looks_like(admit(encode(upright(), transparency=BLUE)), expected, 0)


@pytest.mark.parametrize("peak", [65535, 200])
def test_sixteen_bits_become_eight_by_the_same_scale(peak):
    values = np.full((16, 16), peak, dtype=np.uint16)
    data = admit(encode(Image.fromarray(values)))
    assert pixels(data)[0, 0] == pytest.approx([peak / 257] * 3, abs=1)


def test_grey_with_alpha_and_bilevel_images_become_rgb():
    assert pixels(admit(encode(Image.new("LA", (16, 16), (0, 0))))).min() == 255
    assert pixels(admit(encode(Image.new("1", (16, 16), 1)))).min() == 255


def test_cmyk_becomes_rgb():
    assert looks_like(admit(encode(upright().convert("CMYK"), "JPEG", quality=95)), upright(), 20)


def test_a_colour_profile_is_converted_to_srgb():
    # XYZ has no gamma: its mid grey is much lighter than sRGB's.
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ"))
    data = encode(Image.new("RGB", (16, 16), (60, 60, 60)), icc_profile=lab.tobytes())
    assert admit(data) != data


def test_a_broken_colour_profile_costs_nothing_but_itself():
    data = admit(encode(upright(), icc_profile=b"not a profile"))
    assert looks_like(data, upright(), 0)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [upright(), Image.new("RGB", (32, 24), WHITE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert looks_like(admit(data), upright(), 8)


def bomb():
    """A valid PNG header of 20,000 x 20,000 pixels over almost no data."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    content = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", content)
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_image"),
        (b"GIF89a", "not_an_image"),
        (b"<html>404</html>", "not_an_image"),
        (b"\x89PNG\r\n\x1a\n", "not_an_image"),
        (bomb(), "too_many_pixels"),
        (encode(Image.new("RGB", (7, 100))), "too_small"),
        (b"II*\x00" + bytes(100), "not_an_image"),
    ],
)
def test_bad_bytes_are_refused_with_a_reason(data, reason):
    for check in (admit, probe):
        with pytest.raises(BadImageError) as error:
            check(data)
        assert error.value.reason == reason


def test_a_bomb_is_told_by_its_size():
    with pytest.raises(BadImageError, match="at most 50000000 pixels, received 20000 x 20000"):
        probe(bomb())


def test_bytes_are_limited_before_anything_is_parsed():
    data = encode(upright())
    with pytest.raises(BadImageError) as error:
        admit(data, ImageLimits(max_bytes=len(data) - 1))
    assert error.value.reason == "too_many_bytes"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_half_an_image_is_refused_and_its_header_read(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 48, 3), np.uint8))
    data = encode(noise, kind)
    assert probe(data) == (kind, 48, 64)
    with pytest.raises(BadImageError) as error:
        admit(data[: len(data) // 2])
    assert error.value.reason in ("truncated_image", "not_an_image")


def test_a_png_without_its_end_is_encoded_anew():
    data = encode(upright())
    again = admit(data[:-12])
    assert again != data[:-12]
    assert looks_like(again, upright(), 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_damage_never_raises_anything_but_bad_image_error(kind):
    """Seeded damage: flipped bytes, cuts and insertions."""
    chance = random.Random(kind)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 16, 3), np.uint8))
    whole = encode(noise, kind)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        del data[chance.choice([len(data), chance.randrange(len(data))]) :]
        try:
            # Something that is admitted is whole: Pillow reads it again without complaint.
            pixels(admit(bytes(data)))
        except BadImageError:
            refused += 1
    assert refused > 20


def test_read_image_takes_paths_and_file_uris(tmp_path):
    path = tmp_path / "a b.png"
    path.write_bytes(b"data")
    assert read_image(str(path)) == b"data"
    assert read_image(path.as_uri()) == b"data"
    assert images.local_path("file:///a%20b.png") == images.local_path("/a b.png")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "missing_image"),
        (lambda path: path.write_bytes(b""), "empty_image"),
        (lambda path: path.mkdir(), "unreadable_image"),
        (os.mkfifo, "unreadable_image"),
        (lambda path: path.write_bytes(bytes(101)), "too_many_bytes"),
        (lambda path: path.symlink_to(path), "unreadable_image"),
    ],
)
def test_read_image_tells_what_is_wrong(tmp_path, make, reason):
    make(tmp_path / "x")
    with pytest.raises(BadImageError) as error:
        read_image(str(tmp_path / "x"), ImageLimits(max_bytes=100))
    assert error.value.reason == reason
    assert str(tmp_path / "x") in str(error.value)


def test_a_path_with_a_null_byte_is_refused():
    with pytest.raises(BadImageError) as error:
        read_image("a\0b")
    assert error.value.reason == "unreadable_image"


def test_a_file_that_comes_in_parts_is_read_whole(tmp_path, monkeypatch):
    data = encode(upright(), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data)
    read = os.read
    monkeypatch.setattr(images.os, "read", lambda fd, most: read(fd, min(most, 100)))
    assert read_image(str(tmp_path / "a.jpg")) == data
    with pytest.raises(BadImageError, match="at most 300 bytes"):
        read_image(str(tmp_path / "a.jpg"), ImageLimits(max_bytes=300))
