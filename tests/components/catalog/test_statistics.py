import io

import numpy as np
import pytest
from PIL import Image

from components.catalog.statistics import Look, Statistics, brightness, looks_decoded, measure
from components.contracts.catalog import Item
from components.contracts.files import sha256_bytes


def item(number, taxon_id="chair", **more):
    return Item(f"i{number}", "a.jpg", "00", taxon_id, f"p{number // 2}", **more)


def test_figures_by_hand(tmp_path):
    items = [
        item(0, title="Chair", attributes={"colour": "red", "size": ""}),
        item(1, attributes={"colour": "blue"}),
        item(2, "lamp", label_source="none"),
        item(3, "lamp", title="Lamp"),
    ]
    looks = [
        Look("JPEG", 100, 100, 5000, 10.0),
        Look("JPEG", 64, 128, 5000, 250.0),
        Look("PNG", 63, 20, 100, 31.9),
        Look("JPEG", 5000, 4000, 5_000_000, None),
    ]
    found = measure(items, looks, rows=5, rejected=1)
    assert (found.items, found.products, found.rejected) == (4, 2, 0.2)
    assert found.shares == {
        "label": {"chair": 0.5, "lamp": 0.5},
        "format": {"JPEG": 0.75, "PNG": 0.25},
        "side": {"64 to 128": 0.25, "128 to 256": 0.25, "below 64": 0.25, "from 4096": 0.25},
        "aspect": {"0.95 to 1.05": 0.25, "0.5 to 0.8": 0.25, "from 2": 0.25, "1.25 to 2": 0.25},
        "bytes": {"4096 to 16384": 0.5, "below 1024": 0.25, "from 4.1943e+06": 0.25},
        "brightness": {"0 to 32": pytest.approx(2 / 3), "224 to 256": pytest.approx(1 / 3)},
    }
    assert found.filled == {
        "attributes.colour": 0.5, "label": 0.75, "product_id": 1.0, "title": 0.5,
    }  # fmt: skip
    found.write(tmp_path / "statistics.json")
    assert Statistics.read(tmp_path / "statistics.json") == found


def test_an_empty_catalog_has_figures_too():
    assert measure([], [], rows=0, rejected=0).shares["label"] == {}


def test_figures_of_another_program_are_not_read(tmp_path):
    (tmp_path / "s.json").write_text('{"format": 99, "strange": 1}')
    assert Statistics.read(tmp_path / "s.json") is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_brightness_is_the_mean_of_the_grey_values(kind):
    pixels = np.zeros((256, 256), np.uint8)
    pixels[:, 64:] = 200
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(buffer, kind)
    assert brightness(buffer.getvalue()) == pytest.approx(150, abs=1)


def test_what_cannot_be_decoded_has_no_brightness():
    assert brightness(b"\x89PNG\r\n\x1a\nrest") is None


def test_the_sample_hangs_on_the_bytes_and_is_about_a_thousand():
    hashes = [sha256_bytes(str(number).encode()) for number in range(50_000)]
    sample = {one for one in hashes if looks_decoded(one, 50_000)}
    assert 850 < len(sample) < 1150
    # A catalog that grew keeps part of the same sample, and takes no other image.
    assert {one for one in hashes if looks_decoded(one, 60_000)} < sample
    assert all(looks_decoded(one, 1000) for one in hashes[:1000])
