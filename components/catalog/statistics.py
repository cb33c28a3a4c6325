"""Figures of a catalog that the next run compares its own with: how much, of what, how it looks."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from PIL import Image, ImageStat

from components.contracts.catalog import Item
from components.contracts.files import read_json, write_json

_FORMAT = 1
# Longer side in pixels, and bytes: bounds of the classes, each four or two times the one before.
_SIDES = (64, 128, 256, 512, 1024, 2048, 4096)
_BYTES = (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22)
_ASPECTS = (0.5, 0.8, 0.95, 1.05, 1.25, 2.0)
_BRIGHTNESS_CLASSES = 8
# Images that are decoded for their brightness, about: enough for a share to a point or two.
_DECODED = 1000
_LARGEST_DECODED = 20_000_000


@dataclass(frozen=True)
class Look:
    """What one image looks like from outside.

    Attributes:
        kind: `JPEG`, `PNG` and so on.
        width: In pixels.
        height: In pixels.
        size: Encoded, in bytes.
        brightness: Mean of the grey values in [0, 255]; None where the image was not decoded.
    """

    kind: str
    width: int
    height: int
    size: int
    brightness: float | None = None


@dataclass(frozen=True)
class Statistics:
    """A catalog in figures; each of `shares` maps a class to its share of the items in [0, 1].

    Attributes:
        items: Items that passed.
        products: Products that they show.
        rejected: Share of the table's rows that were set aside, in [0, 1].
        shares: Feature to class to share: `label` (taxon id), `format`, `side`, `aspect`, `bytes`,
            `brightness` (over the decoded sample).
        filled: Column to the share of items, in [0, 1], for which it says something.
    """

    items: int
    products: int
    rejected: float
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    filled: Mapping[str, float] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Writes the figures as JSON."""
        write_json(path, {"format": _FORMAT, **asdict(self)})

    @classmethod
    def read(cls, path: Path) -> Statistics | None:
        """Reads what `write` wrote; None where it is of another version of this program."""
        value = read_json(path)
        if value.pop("format", None) != _FORMAT:
            return None
        return cls(**value)


def looks_decoded(content_hash: str, images: int) -> bool:
    """Says whether an image belongs to the sample that is decoded.

    The choice hangs on the image's bytes alone: an image that stays in the catalog stays in the
    sample, so that two days differ by what changed and not by chance.
    """
    return int(content_hash[:16], 16) * images < _DECODED << 64


def brightness(data: bytes) -> float | None:
    """Returns an image's mean grey value in [0, 255]; None where it cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > _LARGEST_DECODED:
                return None
            # A JPEG is decoded at an eighth of its size, which is what its blocks' means give.
            image.draft("L", (32, 32))
            return float(ImageStat.Stat(image.convert("L")).mean[0])
    # What a broken file makes the decoder raise is told by the transform step, not here.
    except Exception:
        return None


def measure(
    items: Sequence[Item], looks: Sequence[Look], *, rows: int, rejected: int
) -> Statistics:
    """Returns a catalog's figures.

    Args:
        items: What passed.
        looks: How the image of each looks, in the same order.
        rows: Rows of the table.
        rejected: How many of them were set aside.
    """
    lit = [look.brightness for look in looks if look.brightness is not None]
    width = 256 / _BRIGHTNESS_CLASSES
    return Statistics(
        items=len(items),
        products=len({item.product_id for item in items}),
        rejected=rejected / rows if rows else 0.0,
        shares={
            "label": _shares(item.taxon_id for item in items),
            "format": _shares(look.kind for look in looks),
            "side": _shares(_class(max(look.width, look.height), _SIDES) for look in looks),
            "aspect": _shares(_class(look.width / look.height, _ASPECTS) for look in looks),
            "bytes": _shares(_class(look.size, _BYTES) for look in looks),
            "brightness": _shares(
                f"{width * (value // width):g} to {width * (value // width + 1):g}" for value in lit
            ),
        },
        filled=_filled(items),
    )


def _class(value: float, bounds: Sequence[float]) -> str:
    place = bisect_right(bounds, value)
    if place == 0:
        return f"below {bounds[0]:g}"
    if place == len(bounds):
        return f"from {bounds[-1]:g}"
    return f"{bounds[place - 1]:g} to {bounds[place]:g}"


def _shares(values: Iterable[str]) -> dict[str, float]:
    counts = Counter(values)
    total = counts.total()
    return {key: round(counts[key] / total, 9) for key in sorted(counts)}


def _filled(items: Sequence[Item]) -> dict[str, float]:
    counts: Counter[str] = Counter()
    for item in items:
        counts["title"] += bool(item.title)
        counts["label"] += item.label_source != "none"
        counts["product_id"] += item.product_id != item.item_id
        counts.update(f"attributes.{name}" for name, value in item.attributes.items() if value)
    return {key: round(counts[key] / len(items), 9) for key in sorted(counts)} if items else {}
