"""A generated catalog of product-like JPEGs, and the next day's, for `bench_data.py`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from components.contracts.catalog import ITEMS_FILE, TAXONOMY_FILE, Item, read_items, write_items
from components.contracts.files import sha256_bytes

SIDE = 256
LEAVES = 50


def generate(folder: Path, images: int) -> Path:
    """Writes images and a checked catalog, once; returns the checked catalog."""
    checked = folder / f"checked-{images}"
    if (checked / ITEMS_FILE).exists():
        return checked
    (folder / "images").mkdir(parents=True, exist_ok=True)
    items = [_item(folder, number, version=0) for number in range(images)]
    _write(checked, items)
    return checked


def next_day(folder: Path, checked: Path, share: float) -> Path:
    """Returns the catalog of the day after: half of `share` is changed, half of it is new."""
    items = read_items(checked / ITEMS_FILE)
    count = max(1, round(len(items) * share / 2))
    rng = np.random.default_rng(1)
    for place in rng.choice(len(items), count, replace=False):
        items[place] = _item(folder, int(place), version=1)
    # As many leave as come.
    gone = set(rng.choice(len(items), count, replace=False).tolist())
    items = [item for place, item in enumerate(items) if place not in gone]
    items += [_item(folder, 10_000_000 + number, version=1) for number in range(count)]
    tomorrow = checked.with_name(f"{checked.name}-next")
    _write(tomorrow, items)
    return tomorrow


def _write(checked: Path, items: list[Item]) -> None:
    checked.mkdir(parents=True, exist_ok=True)
    rows = ["taxon_id,parent_id,name", "root,,All", "d,root,Department"]
    rows += [f"leaf{number},d,Leaf {number}" for number in range(LEAVES)]
    (checked / TAXONOMY_FILE).write_text("\n".join(rows) + "\n")
    write_items(checked / ITEMS_FILE, items)


def _item(folder: Path, number: int, *, version: int) -> Item:
    path = folder / "images" / f"{number}-{version}.jpg"
    if not path.exists():
        path.write_bytes(_jpeg(number * 2 + version))
    data = path.read_bytes()
    leaf = f"leaf{number % LEAVES}"
    return Item(f"i{number}", str(path), sha256_bytes(data), leaf, f"p{number // 2}")


def _jpeg(seed: int) -> bytes:
    """Returns a textured shape on white, as heavy to decode as a product photo (15 to 20 KB)."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 60, (SIDE // 4, SIDE // 4, 3), np.uint8)
    colour = rng.integers(40, 190, 3)
    surface = Image.fromarray((texture + colour).astype(np.uint8)).resize((SIDE, SIDE))
    mask = Image.new("L", (SIDE, SIDE))
    corners = [tuple(map(int, rng.integers(20, SIDE - 20, 2))) for _ in range(5)]
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    image = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    image.paste(surface, mask=mask)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
