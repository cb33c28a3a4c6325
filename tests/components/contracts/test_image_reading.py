import hashlib
import io
import threading
from typing import NamedTuple

import pytest
from PIL import Image

from components.contracts import image_reading
from components.contracts.image_reading import read_ahead
from components.contracts.images import ImageLimits


class Listed(NamedTuple):
    image: str
    content_hash: str


def jpeg(number):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (number, 0, 0)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """Sixty images, each fifth of them elsewhere."""
    elsewhere = {}

    def remote(uri, most):
        return elsewhere[uri]

    monkeypatch.setitem(image_reading.read_image.__globals__["_REMOTE"], "gs", remote)
    found = []
    for number in range(60):
        data = jpeg(number)
        if number % 5:
            uri = str(tmp_path / f"{number}.jpg")
            (tmp_path / f"{number}.jpg").write_bytes(data)
        else:
            uri = f"gs://shop/{number}.jpg"
            elsewhere[uri] = data
        found.append(Listed(uri, hashlib.sha256(data).hexdigest()))
    return found


@pytest.mark.parametrize("ahead", [1, 8, 1000])
def test_images_come_in_order_from_wherever_they_lie(listed, ahead):
    found = list(read_ahead(iter(listed), ImageLimits(), ahead=ahead))
    assert [one for one, _ in found] == listed
    assert [hashlib.sha256(data).hexdigest() for _, data in found] == [
        one.content_hash for one in listed
    ]


def test_a_bad_image_has_its_reason_and_stops_no_other(listed, tmp_path):
    (tmp_path / "7.jpg").unlink()
    (tmp_path / "8.jpg").write_bytes(jpeg(200))
    (tmp_path / "9.jpg").write_bytes(b"no image")
    listed[9] = Listed(listed[9].image, hashlib.sha256(b"no image").hexdigest())
    found = [data for _, data in read_ahead(listed, ImageLimits(), ahead=20)]
    assert [found[place][0] for place in (7, 8, 9)] == [
        "missing_image",
        "changed_image",
        "not_an_image",
    ]
    assert all(isinstance(data, bytes) for data in found[:7] + found[10:])


def test_no_more_is_read_than_may_lie_in_memory(listed, monkeypatch):
    read, lock = [], threading.Lock()
    admitted = image_reading._admitted

    def counted(one, limits):
        with lock:
            read.append(one)
        return admitted(one, limits)

    monkeypatch.setattr(image_reading, "_admitted", counted)
    for taken, _ in enumerate(read_ahead(listed, ImageLimits(), ahead=10)):
        assert len(read) <= taken + 10 + 2 * image_reading._PORTION
