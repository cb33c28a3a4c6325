import csv
import gzip
import struct

import numpy as np
import pytest
from PIL import Image

from components.catalog.check import check_catalog
from components.catalog.config import CatalogConfig
from components.catalog.fashion_mnist import convert
from components.contracts.catalog import read_items
from components.contracts.errors import InputError


def idx(array, magic):
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "idx"
    folder.mkdir()
    for prefix, count in (("train", 20), ("t10k", 10)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, :10, :] = np.arange(count, dtype=np.uint8)[:, None, None] * 5 + 100
        # Each its own picture: photos that are copies of catalog images would not be asked.
        images[:, 20:, :] = np.random.default_rng(count).integers(0, 256, (count, 8, 28))
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images, 2051)))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels, 2049))
    return folder


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_catalog_passes_the_catalog_step(source, tmp_path):
    output = tmp_path / "out"
    assert convert(source, output) == {"items": 20, "queries": 10}
    counts = check_catalog(
        catalog=str(output / "catalog.csv"),
        taxonomy=str(output / "taxonomy.csv"),
        votes="",
        queries=str(output / "queries.csv"),
        previous_taxonomy=None,
        config=CatalogConfig(),
        output=tmp_path / "checked",
        report=tmp_path / "report.html",
    )
    assert (counts["items"], counts["queries"], counts["rejects"]) == (20, 10, 0)
    item = read_items(tmp_path / "checked/items.jsonl")[9]
    assert (item.item_id, item.taxon_id) == ("train-00009", "ankle-boot")


def test_images_are_upright_and_on_white(source, tmp_path):
    convert(source, tmp_path)
    with Image.open(tmp_path / "images/train/train-00003.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (28, 28)
    assert (pixels[10:20] == 255).all()
    assert (pixels[:10] == 255 - 115).all()


def test_tables(source, tmp_path):
    convert(source, tmp_path)
    assert rows(tmp_path / "queries.csv")[8] == {
        "query_id": "test-00008",
        "image": "images/test/test-00008.png",
        "product_id": "",
        "taxon_id": "bag",
    }
    assert len({row["product_id"] for row in rows(tmp_path / "catalog.csv")}) == 20
    taxonomy = rows(tmp_path / "taxonomy.csv")
    assert [row["taxon_id"] for row in taxonomy if row["parent_id"] == "shoes"] == [
        "sandal",
        "sneaker",
        "ankle-boot",
    ]


def test_limit(source, tmp_path):
    assert convert(source, tmp_path, limit=12) == {"items": 12, "queries": 10}
    with pytest.raises(InputError, match="expected 1 or more"):
        convert(source, tmp_path, limit=0)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("train-labels-idx1-ubyte", lambda data: None, "expected the file train-labels"),
        (
            "train-labels-idx1-ubyte",
            lambda data: data[:-1],
            "expected 28 bytes for 20, received 27",
        ),
        ("train-labels-idx1-ubyte", lambda data: data + b"x", "expected 28 bytes"),
        ("train-labels-idx1-ubyte", lambda data: data[:6], "8 bytes of header, received 6"),
        ("train-labels-idx1-ubyte", lambda data: b"\0\0\x08\x03" + data[4:], "magic number 2049"),
        ("train-labels-idx1-ubyte", lambda data: data[:-1] + b"\x0a", "label 19: expected 0 to 9"),
        (
            "train-labels-idx1-ubyte",
            lambda data: idx(np.zeros(3, np.uint8), 2049),
            "each of the 20 images .* received 3",
        ),
        ("train-images-idx3-ubyte.gz", lambda data: data[:-9], "is the download whole"),
        ("train-images-idx3-ubyte.gz", lambda data: b"<html>", "cannot be read"),
        (
            "t10k-images-idx3-ubyte.gz",
            lambda data: gzip.compress(idx(np.zeros((10, 32, 32), np.uint8), 2051)),
            "28 x 28 pixels, received 32 x 32",
        ),
        (
            "t10k-images-idx3-ubyte.gz",
            lambda data: gzip.compress(struct.pack(">4I", 2051, 2**31, 2**31, 2**31)),
            "expected .* bytes for 2147483648",
        ),
    ],
)
def test_files_that_are_not_what_they_say_are_refused(source, tmp_path, name, change, message):
    data = change((source / name).read_bytes())
    if data is None:
        (source / name).unlink()
    else:
        (source / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        convert(source, tmp_path / "out")
    assert str(source) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_stopped_conversion_leaves_no_catalog(source, tmp_path, monkeypatch):
    convert(source, tmp_path)

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path)
    assert not (tmp_path / "catalog.csv").exists()
