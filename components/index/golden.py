"""Golden queries: what the searcher answered when built, to be asked again wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts.catalog import Item, Query
from components.contracts.files import sha256_bytes, write_atomically, write_json
from components.contracts.images import BadImageError, probe, read_image
from components.search.retrieval import BundleIndex, Hits
from components.search.searcher import Vectors

ANSWERS_FILE = "golden/answers.json"
QUERIES_FILE = "golden/queries.npy"
IMAGES_DIRECTORY = "golden/images"
# Length of the noise that a golden query must bear: the same photo's vector differs by about 1e-6
# from one processor or batch to the next.
_NOISE = 1e-5
_TRIALS = 8


def write_golden(
    bundle: Path,
    index: BundleIndex,
    asked: Sequence[Query | Item],
    vectors: Vectors,
    *,
    k: int,
    images: int,
) -> int:
    """Asks the golden queries and writes them with their answers.

    A query at the very edge of an approximate index's reach may be answered otherwise on another
    processor, which says nothing about the bundle: such queries are left out, unless all are.

    Args:
        bundle: The bundle's directory.
        index: What answers.
        asked: The photos (or catalog images, where a catalog has no photos) behind the vectors.
        vectors: float32 `[len(asked), dim]`, unit norm.
        k: Items in an answer, one image a product.
        images: How many of the photos to keep in the bundle, byte for byte.

    Returns:
        How many photos were kept.
    """
    (bundle / IMAGES_DIRECTORY).mkdir(parents=True, exist_ok=True)
    answers = index.answer(vectors, k)
    steady = _steady(index, vectors, answers, k)
    np.save(bundle / QUERIES_FILE, np.ascontiguousarray(vectors[steady]), allow_pickle=False)
    kept = 0
    records: list[dict[str, Any]] = []
    for number, row in enumerate(steady):
        one, hits = asked[row], answers[row]
        image = _keep(bundle, one, number) if kept < images else ""
        kept += bool(image)
        records.append(
            {
                "query_id": one.query_id if isinstance(one, Query) else one.item_id,
                "kind": "shopper" if isinstance(one, Query) else "item",
                "image": image,
                "item_ids": hits.item_ids,
                "product_ids": hits.product_ids,
                "scores": hits.scores,
            }
        )
    write_json(bundle / ANSWERS_FILE, {"k": k, "one_per_product": True, "queries": records})
    return kept


def _steady(index: BundleIndex, vectors: Vectors, answers: Sequence[Hits], k: int) -> list[int]:
    """Returns the rows whose answers bear noise, in order; all rows when none does."""
    noise = np.random.default_rng(0)
    moved = np.repeat(vectors[None], _TRIALS, axis=0)
    step = noise.standard_normal(moved.shape)
    moved = moved + step * (_NOISE / np.linalg.norm(step, axis=-1, keepdims=True))
    moved /= np.linalg.norm(moved, axis=-1, keepdims=True)
    # All at once: an index in shards reads each of them for every call.
    again = index.answer(moved.reshape(-1, vectors.shape[1]).astype(np.float32), k)
    same = np.ones(len(vectors), np.bool_)
    for number, hits in enumerate(again):
        row = number % len(vectors)
        known = answers[row].scores
        same[row] &= len(hits) == len(known) and np.allclose(
            hits.scores, known, rtol=0, atol=2 * _NOISE
        )
    return [int(row) for row in (np.flatnonzero(same) if same.any() else range(len(vectors)))]


def _keep(bundle: Path, one: Query | Item, number: int) -> str:
    """Copies a photo into the bundle; returns its path there, empty when it is gone or changed."""
    try:
        data = read_image(one.image)
        suffix = probe(data)[0].lower().replace("jpeg", "jpg")
    except BadImageError:
        return ""
    if sha256_bytes(data) != one.content_hash:
        return ""
    name = f"{IMAGES_DIRECTORY}/{number:03d}.{suffix}"
    write_atomically(bundle / name, data)
    return name
