"""Golden queries: what the searcher answered when built, to be asked again wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts.catalog import Item, Query
from components.contracts.files import sha256_bytes, write_atomically, write_json
from components.contracts.images import BadImageError, probe, read_image
from components.search.retrieval import BundleIndex
from components.search.searcher import Vectors

ANSWERS_FILE = "golden/answers.json"
QUERIES_FILE = "golden/queries.npy"
IMAGES_DIRECTORY = "golden/images"


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
    np.save(bundle / QUERIES_FILE, np.ascontiguousarray(vectors), allow_pickle=False)
    kept = 0
    records: list[dict[str, Any]] = []
    for number, (one, hits) in enumerate(zip(asked, index.answer(vectors, k), strict=True)):
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
