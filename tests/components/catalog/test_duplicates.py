"""Copies of one picture: who is joined, which photos are not asked, what a later run keeps."""

import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from components.catalog import duplicates
from components.catalog.check import check_catalog
from components.catalog.config import CatalogConfig
from components.catalog.duplicates import Fingerprints
from components.contracts import catalog as contract
from components.contracts.fingerprint import VERSION
from components.contracts.near_duplicates import NEAR_DUPLICATES_FILE, NearDuplicates
from components.registry.object_store import open_store


@pytest.fixture
def copied(shop, dev_mini):
    """Ten different pictures, each its own product; some of them are copies of others."""
    pictures = sorted((dev_mini / "images").glob("d*.jpg"))
    for n, path in enumerate(pictures[:100:10]):
        shop.items[n][1] = f"images/i{n}.jpg"
        shutil.copy(path, shop.folder / f"images/i{n}.jpg")

    def copy(source, target, quality=50, size=None):
        image = Image.open(shop.folder / f"images/{source}.jpg").convert("RGB")
        buffer = io.BytesIO()
        (image.resize(size) if size else image).save(buffer, "JPEG", quality=quality)
        (shop.folder / "images" / target).write_bytes(buffer.getvalue())

    shop.copy = copy
    return shop


def found(shop):
    return NearDuplicates.read(shop.output / NEAR_DUPLICATES_FILE)


def test_pictures_that_are_no_copies_join_nothing(copied):
    assert copied.check()["queries"] == 10
    assert found(copied) == NearDuplicates()
    assert "No image is a copy of another one" in copied.report.read_text()


def test_copies_join_their_products_and_are_shown(copied):
    copied.copy("i1", "i2.jpg")
    copied.copy("i1", "i3.jpg", size=(100, 100), quality=90)
    copied.copy("i5", "i6.jpg")
    copied.items[6][3] = copied.items[5][3]  # Two views of one product.
    copied.check()
    assert found(copied) == NearDuplicates(
        items=(("i1", "i2", "i3"), ("i5", "i6")), products=(("p1", "p2", "p3"),)
    )
    summary = json.loads((copied.output / contract.SUMMARY_FILE).read_text())
    assert summary["near_duplicates"] == {
        "groups": 2,
        "items": 5,
        "groups_across_products": 1,
        "products": 3,
        "photos": 0,
    }
    page = copied.report.read_text()
    assert page.count("<figcaption>i2 (p2)</figcaption>") == 1
    assert "i5 (p5)" not in page


def test_products_hang_together_through_others(copied):
    copied.copy("i1", "i2.jpg")
    copied.items[3][3] = "p2"
    copied.copy("i3", "i4.jpg")
    copied.check()
    assert found(copied).products == (("p1", "p2", "p4"),)


def test_a_photo_that_is_a_copy_of_a_catalog_image_is_not_asked(copied):
    copied.queries[3][1], copied.queries[4][1] = "images/q3.jpg", "images/q4.jpg"
    copied.copy("i7", "q3.jpg", quality=70)
    shutil.copy(copied.folder / "images/i8.jpg", copied.folder / "images/q4.jpg")
    counts = copied.check(max_reject_share=0.0)
    assert (counts["queries"], counts["rejects"]) == (8, 2)
    asked = contract.read_queries(copied.output / contract.QUERIES_FILE)
    assert [query.query_id for query in asked] == [f"q{n}" for n in (0, 1, 2, 5, 6, 7, 8, 9)]
    rejects = contract.read_rejects(copied.output / contract.REJECTS_FILE)
    assert [(one.kind, one.key, one.reason) for one in rejects] == [
        ("query", "q3", "copy_of_catalog_image"),
        ("query", "q4", "copy_of_catalog_image"),
    ]
    assert "a copy of the image of item i7" in rejects[0].detail
    assert found(copied).queries == (("q3", "i7"), ("q4", "i8"))
    page = copied.report.read_text()
    assert "2 shopper photos are copies of catalog images" in page
    assert "<figcaption>photo q3</figcaption>" in page
    assert "<figcaption>i7 (p7)</figcaption>" in page


def test_photos_that_are_copies_of_each_other_are_asked(copied):
    copied.copy("i7", "q3.jpg")
    copied.copy("i7", "q4.jpg", quality=70)
    copied.queries[3][1], copied.queries[4][1] = "images/q3.jpg", "images/q4.jpg"
    del copied.items[7], copied.queries[7]
    assert copied.check()["queries"] == 9
    assert found(copied) == NearDuplicates()


def check_with(shop, fingerprints):
    shop.write()
    return check_catalog(
        catalog=str(shop.folder / "catalog.csv"),
        taxonomy=str(shop.folder / "taxonomy.csv"),
        votes="",
        queries=str(shop.folder / "queries.csv"),
        previous_taxonomy=None,
        config=CatalogConfig(),
        output=shop.output,
        report=shop.report,
        fingerprints=fingerprints,
    )


def test_a_later_run_computes_new_images_alone(copied, tmp_path, monkeypatch):
    copied.copy("i1", "i2.jpg")
    store = open_store(str(tmp_path / "registry"))
    first = Fingerprints(store)
    check_with(copied, first)
    assert first.publish() == []
    before = (copied.output / NEAR_DUPLICATES_FILE).read_bytes()

    asked = []
    monkeypatch.setattr(duplicates, "fingerprint", lambda data: asked.append(data) or b"")
    second = Fingerprints(store)
    check_with(copied, second)
    assert asked == []
    assert (copied.output / NEAR_DUPLICATES_FILE).read_bytes() == before
    copied.copy("i9", "i9.jpg", quality=20)
    check_with(copied, Fingerprints(store))
    assert asked == [(copied.folder / "images/i9.jpg").read_bytes()]


def test_what_left_is_forgotten_and_what_is_damaged_is_made_again(copied, tmp_path):
    root = tmp_path / "registry"
    store = open_store(str(root))
    first = Fingerprints(store)
    check_with(copied, first)
    first.publish()
    listing = root / f"reuse/fingerprints/v{VERSION}/list.json"

    def images():
        return json.loads(listing.read_text())["about"]["images"]

    assert images() == 20
    del copied.items[9], copied.queries[9]
    second = Fingerprints(store)
    check_with(copied, second)
    second.publish()
    assert images() == 18
    name = json.loads(listing.read_text())["files"][0]["sha256"]
    (Path(listing.parent) / "files" / name).write_bytes(b"damaged")
    third = Fingerprints(store)
    assert check_with(copied, third)["items"] == 9
    assert "another SHA-256" in third.publish()[0]
    assert Fingerprints(store).publish() == []
