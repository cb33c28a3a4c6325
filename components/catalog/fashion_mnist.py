"""Fashion-MNIST as a catalog: the IDX files in, tables and PNG images out.

H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine
learning algorithms", arXiv:1708.07747. Debian ships it as the package dataset-fashion-mnist.
"""

from __future__ import annotations

import csv
import gzip
import io
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from components.contracts.errors import InputError
from components.contracts.files import write_atomically
from components.contracts.progress import Progress

_IMAGES_MAGIC = 2051
_LABELS_MAGIC = 2049
_SIDE = 28
# Split, prefix of its files and of its ids.
_SPLITS = (("train", "train"), ("test", "t10k"))
_ROOT = ("fashion", "", "Fashion")
_DEPARTMENTS = (
    ("tops", "Tops"),
    ("bottoms", "Bottoms"),
    ("dresses", "Dresses"),
    ("shoes", "Shoes"),
    ("bags", "Bags"),
)
# Leaf, department and name, in the order of the data set's labels 0 to 9.
_LEAVES = (
    ("t-shirt", "tops", "T-shirts and tops"),
    ("trouser", "bottoms", "Trousers"),
    ("pullover", "tops", "Pullovers"),
    ("dress", "dresses", "Dresses of any kind"),
    ("coat", "tops", "Coats"),
    ("sandal", "shoes", "Sandals"),
    ("shirt", "tops", "Shirts"),
    ("sneaker", "shoes", "Sneakers"),
    ("bag", "bags", "Bags of any kind"),
    ("ankle-boot", "shoes", "Ankle boots"),
)

Bytes = npt.NDArray[np.uint8]


def convert(source: Path, output: Path, *, limit: int | None = None) -> dict[str, int]:
    """Writes Fashion-MNIST as a catalog that `lookalike run` takes.

    The training split becomes the catalog, every image a product of its own; the test split
    becomes the shopper photos, whose product is unknown and whose leaf is known. The intensities
    are negated: the data set stores what once was a product on white as grey on black.

    Args:
        source: Directory with the four IDX files, compressed with gzip or not.
        output: Directory for `catalog.csv`, `queries.csv`, `taxonomy.csv` and `images/`;
            `catalog.csv` is written last, so a conversion that was stopped leaves none.
        limit: Most images of each split; None for all.

    Returns:
        How many `items` and `queries` were written.

    Raises:
        InputError: A file is missing, or is not what its name says.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit: expected 1 or more, received {limit}")
    # Everything is read and checked before the first file is written.
    splits = {split: _read_split(source, prefix, limit) for split, prefix in _SPLITS}
    catalog = output / "catalog.csv"
    catalog.unlink(missing_ok=True)
    total = sum(len(labels) for _, labels in splits.values())
    names: dict[str, list[str]] = {}
    with Progress("fashion-mnist", total=total, unit="images") as progress:
        for split, (images, _) in splits.items():
            folder = output / "images" / split
            folder.mkdir(parents=True, exist_ok=True)
            names[split] = [f"{split}-{index:05d}" for index in range(len(images))]
            for name, pixels in zip(names[split], images, strict=True):
                Image.fromarray(255 - pixels).save(folder / f"{name}.png", compress_level=1)
                progress.advance()
    write_atomically(output / "taxonomy.csv", _taxonomy())
    write_atomically(
        output / "queries.csv",
        _csv(
            ("query_id", "image", "product_id", "taxon_id"),
            (
                (name, f"images/test/{name}.png", "", _LEAVES[label][0])
                for name, label in zip(names["test"], splits["test"][1].tolist(), strict=True)
            ),
        ),
    )
    write_atomically(
        catalog,
        _csv(
            ("item_id", "image", "taxon_id", "product_id", "title"),
            (
                (name, f"images/train/{name}.png", _LEAVES[label][0], name, _LEAVES[label][2])
                for name, label in zip(names["train"], splits["train"][1].tolist(), strict=True)
            ),
        ),
    )
    return {"items": len(names["train"]), "queries": len(names["test"])}


def _read_split(source: Path, prefix: str, limit: int | None) -> tuple[Bytes, Bytes]:
    """Returns images uint8 [n, 28, 28] and labels uint8 [n]."""
    image_file = _find(source, f"{prefix}-images-idx3-ubyte")
    label_file = _find(source, f"{prefix}-labels-idx1-ubyte")
    images = _read_idx(image_file, magic=_IMAGES_MAGIC, dimensions=3)
    labels = _read_idx(label_file, magic=_LABELS_MAGIC, dimensions=1)
    if images.shape[1:] != (_SIDE, _SIDE):
        raise InputError(
            f"{image_file}: expected images of {_SIDE} x {_SIDE} pixels, received "
            f"{images.shape[1]} x {images.shape[2]}"
        )
    if len(images) != len(labels):
        raise InputError(
            f"{label_file}: expected a label for each of the {len(images)} images in "
            f"{image_file.name}, received {len(labels)}"
        )
    unknown = np.flatnonzero(labels >= len(_LEAVES))
    if unknown.size:
        raise InputError(
            f"{label_file}, label {unknown[0]}: expected 0 to {len(_LEAVES) - 1}, received "
            f"{labels[unknown[0]]}"
        )
    return images[:limit], labels[:limit]


def _find(source: Path, name: str) -> Path:
    for candidate in (source / f"{name}.gz", source / name):
        if candidate.is_file():
            return candidate
    raise InputError(
        f"{source}: expected the file {name}.gz or {name}, found neither; Debian's package "
        "dataset-fashion-mnist has them in /usr/share/datasets/fashion-mnist"
    )


def _read_idx(path: Path, *, magic: int, dimensions: int) -> Bytes:
    """Reads an IDX file of unsigned bytes; the sizes in its header must match its length."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); is the download whole?") from None
    header = 4 + 4 * dimensions
    if len(data) < header:
        raise InputError(
            f"{path}: expected at least {header} bytes of header, received {len(data)}"
        )
    found, *sizes = struct.unpack(f">{1 + dimensions}I", data[:header])
    if found != magic:
        raise InputError(
            f"{path}: expected an IDX file with magic number {magic}, received {found}"
        )
    expected = header + int(np.prod(sizes, dtype=object))
    if len(data) != expected:
        raise InputError(
            f"{path}: expected {expected} bytes for {' x '.join(map(str, sizes))}, received "
            f"{len(data)}; is the download whole?"
        )
    if not all(sizes):
        raise InputError(f"{path}: expected images, received none")
    return np.frombuffer(data, np.uint8, offset=header).reshape(sizes)


def _taxonomy() -> str:
    rows = [_ROOT]
    rows.extend((department, _ROOT[0], name) for department, name in _DEPARTMENTS)
    rows.extend(_LEAVES)
    return _csv(("taxon_id", "parent_id", "name"), rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
