"""A bundle's embeddings as an import batch for Vertex AI Vector Search.

For a team whose catalog outgrows one machine: the managed service runs the same ScaNN. Gates,
channels and the encoder stay here; only the nearest neighbours are asked elsewhere.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.contracts.bundle import Manifest, read_manifest
from components.contracts.catalog import TAXONOMY_FILE, Item
from components.contracts.errors import InputError
from components.contracts.files import write_json
from components.contracts.taxonomy import Taxonomy
from components.index import vertex_format
from components.search.retrieval import BundleIndex
from components.search.searcher import Vectors

BATCH = "batch"
METADATA = "index_metadata.json"
_ROWS_PER_FILE = 50_000
# The service's own defaults for a tree of partitions with quantised scoring.
_LEAF_EMBEDDINGS, _LEAVES_PERCENT, _NEIGHBOURS = 1000, 7, 150


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        version: The bundle.
        since: The version that the batch brings up to date; empty for a whole batch.
        vectors: How many vectors.
        deletions: How many ids to remove.
        files: How many data files.
        why_whole: Why the batch is whole although a version to start from was given.
    """

    version: str
    since: str
    vectors: int
    deletions: int
    files: int
    why_whole: str = ""


def export_vertex(
    bundle: Path,
    output: Path,
    *,
    kind: str = "json",
    since: Path | None = None,
    rows_per_file: int = _ROWS_PER_FILE,
) -> Exported:
    """Writes `batch/`, to be copied to Cloud Storage as it is, and `index_metadata.json`.

    Each record carries the item's id and vector; the restricts `department` and `taxon` (every
    node on the way to its label), to search within; the restrict `product`, to leave a product out
    by denying it; and the product as crowding tag, for one image a product.

    Args:
        bundle: The bundle.
        output: Directory to make; it appears whole or not at all.
        kind: `json` or `avro`.
        since: An older bundle: only what changed since is written, and what is gone goes to
            `delete/`. With another encoder every vector is another, and the batch is whole.
        rows_per_file: Records in a data file.

    Raises:
        InputError: The format is unknown, the output exists, or the bundle cannot be exported.
    """
    if kind not in vertex_format.FORMATS:
        raise InputError(f"format {kind!r}: expected one of {', '.join(vertex_format.FORMATS)}")
    if output.exists():
        raise InputError(f"{output}: exists already; choose another directory")
    manifest, index = read_manifest(bundle), BundleIndex.load(bundle)
    taxonomy = Taxonomy.read(bundle / TAXONOMY_FILE)
    rows, gone, why_whole = _to_write(manifest, index, since)
    files = -(-len(rows) // rows_per_file)
    if files >= vertex_format.MOST_OBJECTS:
        raise InputError(
            f"expected fewer than {vertex_format.MOST_OBJECTS} files, {len(rows):,} records in "
            f"files of {rows_per_file:,} make {files:,}; write more records a file"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    try:
        batch = staging / BATCH
        batch.mkdir()
        for number in range(files):
            part = rows[number * rows_per_file : (number + 1) * rows_per_file]
            path = batch / f"items-{number:05d}-of-{files:05d}.{kind}"
            vertex_format.write(path, _records(index, taxonomy, part))
        if gone:
            (batch / vertex_format.DELETE).mkdir()
            text = "".join(f"{item_id}\n" for item_id in gone)
            (batch / vertex_format.DELETE / "removed.txt").write_text(text, encoding="utf-8")
        whole = since is None or bool(why_whole)
        write_json(staging / METADATA, _metadata(manifest, whole=whole))
        # Read back as the service would read it: what it would refuse is refused here.
        vectors, deletions = vertex_format.check_batch(batch, dim=manifest.embedding_dim)
        staging.chmod(0o755)
        os.replace(staging, output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Exported(
        version=manifest.version,
        since="" if since is None else read_manifest(since).version,
        vectors=vectors,
        deletions=deletions,
        files=files,
        why_whole=why_whole,
    )


def _to_write(
    manifest: Manifest, index: BundleIndex, since: Path | None
) -> tuple[Sequence[int], list[str], str]:
    """Returns the rows to write, the ids that are gone, and why all rows are written after all."""
    everything = range(len(index.items))
    if since is None:
        return everything, [], ""
    before = BundleIndex.load(since)
    gone = sorted(item.item_id for item in before.items if item.item_id not in index)
    old = read_manifest(since)
    if old.encoder_digest != manifest.encoder_digest:
        return everything, gone, f"{old.version} has another encoder: every vector is another"
    changed = [
        row
        for row, item in enumerate(index.items)
        if item.item_id not in before or _written(item) != _written(before.item(item.item_id))
    ]
    return changed, gone, ""


def _written(item: Item) -> tuple[str, str, str]:
    """Returns what of an item stands in a record, its vector by the image behind it."""
    return item.content_hash, item.taxon_id, item.product_id


def _records(
    index: BundleIndex, taxonomy: Taxonomy, rows: Sequence[int]
) -> Iterator[dict[str, Any]]:
    vectors: Vectors = index.vectors
    for row in rows:
        item = index.items[row]
        yield {
            "id": item.item_id,
            "embedding": vectors[row].astype(float).tolist(),
            "restricts": _restricts(item, taxonomy),
            "crowding_tag": item.product_id,
        }


def _restricts(item: Item, taxonomy: Taxonomy) -> list[dict[str, Any]]:
    restricts = [{"namespace": "product", "allow": [item.product_id]}]
    path = taxonomy.path(item.taxon_id) if item.taxon_id in taxonomy else ()
    if path:
        restricts += [
            {"namespace": "department", "allow": [path[0]]},
            {"namespace": "taxon", "allow": list(path)},
        ]
    return restricts


def _metadata(manifest: Manifest, *, whole: bool) -> dict[str, Any]:
    """Returns the file that `gcloud ai indexes create|update --metadata-file` takes."""
    return {
        "contentsDeltaUri": "gs://REPLACE-BY-THE-FOLDER-OF/batch",
        "isCompleteOverwrite": whole,
        "config": {
            "dimensions": manifest.embedding_dim,
            "approximateNeighborsCount": _NEIGHBOURS,
            # Vectors have norm 1: their dot product is their cosine.
            "distanceMeasureType": "DOT_PRODUCT_DISTANCE",
            "featureNormType": "NONE",
            "algorithmConfig": {
                "treeAhConfig": {
                    "leafNodeEmbeddingCount": _LEAF_EMBEDDINGS,
                    "leafNodesToSearchPercent": _LEAVES_PERCENT,
                }
            },
        },
    }
