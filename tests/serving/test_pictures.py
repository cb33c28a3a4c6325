from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from components.contracts.files import sha256_bytes
from components.contracts.images import BadImageError, ImageLimits
from serving.pictures import THUMBNAIL_SIDE, Pictures


@pytest.fixture
def pictures():
    return Pictures(enabled=True, limits=ImageLimits(), kept=2)


def refusal(pictures, item):
    with pytest.raises(BadImageError) as caught:
        pictures.original(item)
    assert item.image not in str(caught.value)
    return caught.value.reason


def test_a_picture_comes_with_its_type(pictures, maker):
    item = maker.items("")[0]
    assert pictures.original(item) == (Path(item.image).read_bytes(), "image/png")


def test_a_file_that_changed_is_gone_or_lies_elsewhere_is_not_shown(pictures, maker, tmp_path):
    item = maker.items("")[0]
    assert refusal(pictures, replace(item, image="https://example.com/x.png")) == "not_local"
    assert refusal(pictures, replace(item, image="gs://bucket/x.png")) == "not_local"
    assert refusal(pictures, replace(item, image="/etc/passwd")) == "changed_image"
    assert refusal(pictures, replace(item, image=str(tmp_path / "none.png"))) == "missing_image"
    Path(item.image).write_bytes(maker.png((9, 9, 9)))
    assert refusal(pictures, item) == "changed_image"


def test_a_file_that_is_no_image_is_not_shown_even_when_its_sum_is_known(pictures, maker, tmp_path):
    path = tmp_path / "secret.txt"
    path.write_bytes(b"secret")
    item = replace(maker.items("")[0], image=str(path), content_hash=sha256_bytes(b"secret"))
    assert refusal(pictures, item) == "not_an_image"


def test_thumbnails_are_small_jpegs_and_only_the_latest_are_kept(pictures, maker, tmp_path):
    items = []
    for number in range(3):
        data = maker.png((number, 100, 100), (900, 300))
        path = tmp_path / f"{number}.png"
        path.write_bytes(data)
        items.append(replace(maker.items("")[0], image=str(path), content_hash=sha256_bytes(data)))
    with Image.open(io.BytesIO(pictures.thumbnail(items[0]))) as image:
        assert (image.format, image.width) == ("JPEG", THUMBNAIL_SIDE)
    pictures.thumbnail(items[1])
    pictures.thumbnail(items[2])
    for item in items:
        Path(item.image).unlink()
    assert pictures.thumbnail(items[2])
    with pytest.raises(BadImageError):
        pictures.thumbnail(items[0])
