"""Vectors to measure the index on: made ones in clusters, and real product images."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Vectors = npt.NDArray[np.float32]

FASHION = Path("/usr/share/datasets/fashion-mnist")
_BLOCK = 100_000


def clustered(
    items: int, dim: int, queries: int, *, seed: int = 0, out: Path | None = None
) -> tuple[Vectors, Vectors]:
    """Returns unit vectors in clusters, and queries drawn from the same distribution.

    Clusters of 200 on average, log-normal in size, with spreads from tight to as wide as the
    distance between centres: some neighbourhoods are easy, some are not.

    Args:
        items: How many to index.
        dim: Dimensions.
        queries: How many queries; none of them is an item.
        seed: Seed of the draw.
        out: npy to write the items to, memory-mapped; None to hold them in memory.
    """
    rng = np.random.default_rng(seed)
    clusters = max(1, items // 200)
    centres = rng.standard_normal((clusters, dim), dtype=np.float32)
    spread = rng.uniform(0.3, 1.0, clusters).astype(np.float32)
    share = rng.lognormal(0.0, 1.0, clusters)
    share /= share.sum()

    def draw(count: int) -> Vectors:
        which = rng.choice(clusters, count, p=share)
        noise = rng.standard_normal((count, dim), dtype=np.float32)
        drawn = centres[which] + spread[which, None] * noise
        return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)

    asked = draw(queries)
    vectors = (
        np.empty((items, dim), np.float32)
        if out is None
        else np.lib.format.open_memmap(out, "w+", np.float32, (items, dim))
    )
    for start in range(0, items, _BLOCK):
        stop = min(start + _BLOCK, items)
        vectors[start:stop] = draw(stop - start)
    return vectors, asked


def fashion_mnist(folder: Path = FASHION) -> tuple[Vectors, Vectors]:
    """Returns the pixels of 60,000 product images and of 2,000 others, as unit vectors.

    Source:
        Debian's dataset-fashion-mnist (Zalando Research, MIT licence).
    """

    def read(name: str) -> Vectors:
        path = folder / name
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        pixels = np.frombuffer(data, np.uint8, offset=16).reshape(-1, 784).astype(np.float32)
        return np.asarray(pixels / np.linalg.norm(pixels, axis=1, keepdims=True), np.float32)

    def find(stem: str) -> str:
        return next(path.name for path in sorted(folder.iterdir()) if path.name.startswith(stem))

    return read(find("train-images")), read(find("t10k-images"))[:2000]


def bundle_vectors(bundle: Path) -> tuple[Vectors, Vectors]:
    """Returns the embeddings of a bundle, and its golden queries."""
    vectors = np.load(bundle / "index/vectors.npy", allow_pickle=False)
    return vectors, np.load(bundle / "golden/queries.npy", allow_pickle=False)


def pixels(images: Path, side: int = 8) -> tuple[Vectors, Vectors]:
    """Returns small colour thumbnails of a folder's images as unit vectors, a tenth as queries."""
    rows = []
    for path in sorted(images.iterdir()):
        with Image.open(path) as image:
            small = image.convert("RGB").resize((side, side), Image.Resampling.BOX)
        rows.append(np.asarray(small, np.float32).reshape(-1) - 128.0)
    every = np.stack(rows)
    every /= np.maximum(np.linalg.norm(every, axis=1, keepdims=True), 1e-6)
    asked = np.arange(len(every)) % 10 == 0
    return np.ascontiguousarray(every[~asked]), np.ascontiguousarray(every[asked])
