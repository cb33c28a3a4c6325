"""Pictures say nothing about where they came from."""

import io

import pytest
from PIL import Image

from components.contracts.images import BadImageError
from components.registry.local_store import LocalStore
from serving.rating.pictures import Pictures

PREFIX = "campaigns/demo/c/"


def encoded(size=(300, 200), kind="JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 60)).save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.fixture
def store(tmp_path) -> LocalStore:
    return LocalStore(tmp_path)


def test_the_same_pixels_are_the_same_picture_whatever_file_they_came_in(store):
    exif = Image.Exif()
    exif[0x010F] = "the incumbent's camera"
    files = {
        "a.png": encoded(kind="PNG"),
        "b.png": encoded(kind="PNG", compress_level=0),
        "c.webp": encoded(kind="WEBP", lossless=True),
        "d.png": encoded(kind="PNG", exif=exif),
    }
    for name, data in files.items():
        store.write(f"{PREFIX}images/{name}", data)
    pictures = Pictures(store, PREFIX)
    shown = {pictures.read(f"images/{name}") for name in files}

    assert len(shown) == 1
    assert b"camera" not in shown.pop()


def test_large_pictures_are_made_smaller_and_small_ones_stay(store):
    store.write(f"{PREFIX}images/large.jpg", encoded((3000, 1500)))
    store.write(f"{PREFIX}images/small.jpg", encoded((96, 48)))
    pictures = Pictures(store, PREFIX, side=900)

    assert Image.open(io.BytesIO(pictures.read("images/large.jpg"))).size == (900, 450)
    assert Image.open(io.BytesIO(pictures.read("images/small.jpg"))).size == (96, 48)
    thumbnail = pictures.read("images/large.jpg", side=100)
    assert Image.open(io.BytesIO(thumbnail)).size == (100, 50)


def test_what_is_no_picture_is_said_to_be_none(store):
    store.write(f"{PREFIX}images/broken.jpg", encoded()[:200])
    pictures = Pictures(store, PREFIX)

    for name in ("images/broken.jpg", "images/none.jpg"):
        with pytest.raises(BadImageError):
            pictures.read(name)


def test_memory_stays_within_its_room(store):
    for number in range(6):
        store.write(f"{PREFIX}images/{number}.jpg", encoded((400, 300 + number)))
    size = len(Pictures(store, PREFIX).read("images/0.jpg"))
    pictures = Pictures(store, PREFIX, cache_bytes=3 * size)
    for number in range(6):
        pictures.read(f"images/{number}.jpg")

    assert pictures._bytes <= 3 * size + 100
    assert len(pictures._kept) <= 3
    store.delete(f"{PREFIX}images/5.jpg")
    assert pictures.read("images/5.jpg")
