"""A bundle of made-up items for the serving benchmarks: many clustered vectors, a real ResNet.

The vectors are unit vectors around random centres, as product embeddings are; the encoder is the
pipeline's own ResNet-18 with random weights behind a plain decode-and-resize graph, so it costs
what a trained one costs. No shop's data is needed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from components.contracts.bundle import Manifest, list_files, write_manifest
from components.contracts.catalog import Item, write_items
from components.contracts.files import sha256_file, write_json
from components.contracts.images import admit
from components.search import neighbours
from components.search import searcher as search
from components.search.retrieval import BundleIndex
from components.search.scann_backend import ScannSearcher
from components.search.searcher import ExactSearcher, IndexParameters, Searcher, Vectors

PHOTOS = Path(__file__).parents[1] / "data" / "dev-mini" / "images"
DEPARTMENTS = 20
LEAVES = 10
VIEWS = 2
# How many of an item and its ten neighbours are found, at least; pgvector is set to reach what this
# index reaches, and the bare loop asks with the same parameters.
RECALL = 0.995
RECALL_AT = 11
_LEAVES = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
INDEX = IndexParameters(
    backend="tree_ah",
    leaves=400,
    leaves_to_search=_LEAVES[0],
    reorder=100,
    soar=True,
    training_sample=100_000,
)
STORED, INPUT = 96, 64


def vectors(items: int, dim: int, seed: int, *, centres: int = 2000) -> Vectors:
    """Returns float32 `[items, dim]`: unit vectors around random centres, of a low-rank spread."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(centres, dim)).astype(np.float32)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    rows = middle[rng.integers(0, centres, items)]
    rows += (0.75 / np.sqrt(dim)) * rng.normal(size=(items, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows, np.float32)


def photos(most: int = 64) -> list[bytes]:
    """Returns shopper photos as they came."""
    return [path.read_bytes() for path in sorted(PHOTOS.glob("dq*.jpg"))[:most]]


def save_encoder(path: Path, dim: int) -> None:
    """Writes a SavedModel `image bytes -> unit vector`."""
    import tensorflow as tf

    from components.train.encoder import encode
    from components.train.resnet import build_resnet

    network = build_resnet(
        depth=18,
        width=32,
        embedding_dim=dim,
        channel_mean=(0.5, 0.5, 0.5),
        channel_std=(0.25, 0.25, 0.25),
        seed=1,
    )

    def one(data: tf.Tensor) -> tf.Tensor:
        pixels = tf.io.decode_image(data, channels=3, expand_animations=False)
        pixels = tf.image.resize(tf.cast(pixels, tf.float32), [STORED, STORED], antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)

    import keras

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def image_bytes(data: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = tf.TensorSpec([STORED, STORED, 3], tf.uint8)
        images = tf.map_fn(one, data, fn_output_signature=spec, parallel_iterations=8)
        return {"embedding": encode(network, images, input_size=INPUT, flip_average=False)}

    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint("image_bytes", image_bytes)
    archive.write_out(str(path), verbose=False)


def build(directory: Path, version: str, *, items: int, dim: int, seed: int, encoder: Path) -> Path:
    """Makes a whole bundle directory.

    Args:
        directory: Directory to make.
        version: The bundle's version.
        items: How many.
        dim: Dimensions.
        seed: Of the vectors.
        encoder: A directory with `saved_model/`, copied into the bundle.
    """
    from serving.encoder import Encoder

    directory.mkdir(parents=True)
    rows = vectors(items, dim, seed)
    (directory / "taxonomy.csv").write_text(_taxonomy())
    write_items(directory / "items.jsonl", _items(items, version))
    shutil.copytree(encoder, directory / "encoder")
    searcher = at_recall(search.build(rows, INDEX), rows)
    search.save(searcher, rows, directory)
    np.save(
        directory / "index/item_ids.npy",
        np.asarray([item_id(number) for number in range(items)]),
    )
    index = BundleIndex.load(directory)
    neighbours.write(index.searcher, index.vectors, index.products, directory, most_items=items)
    _write_golden(directory, Encoder(directory, dim=dim), photos(8))
    _seal(directory, version, items, dim)
    return directory


def at_recall(searcher: Searcher, rows: Vectors) -> Searcher:
    """Returns the searcher that looks through the fewest leaves that reach the recall.

    On 500 of the items, as the pipeline's tuner does it on its queries; `components/index/tune.py`
    would take minutes to try other trees, which changes both sides of each ratio alike.
    """
    assert isinstance(searcher, ScannSearcher)
    queries = rows[np.random.default_rng(7).integers(0, len(rows), 500)]
    exact, _ = ExactSearcher(rows).search(queries, RECALL_AT)
    for leaves in _LEAVES:
        searcher = searcher.tuned(reorder=INDEX.reorder, leaves_to_search=leaves)
        found, _ = searcher.search(queries, RECALL_AT)
        pairs = zip(found.tolist(), exact.tolist(), strict=True)
        recall = float(np.mean([len(set(one) & set(best)) / RECALL_AT for one, best in pairs]))
        print(f"{leaves} of {INDEX.leaves} leaves: recall@{RECALL_AT} {recall:.4f}", flush=True)
        if recall >= RECALL:
            break
    return searcher


def derive(source: Path, directory: Path, version: str, *, other_encoder: bool = False) -> Path:
    """Makes another version with the same vectors, whose titles name it.

    Args:
        source: A bundle.
        directory: Directory to make.
        version: The new version.
        other_encoder: Whether its encoder is another one by its files, so that it must be loaded.
    """
    shutil.copytree(source, directory)
    if other_encoder:
        (directory / "encoder" / "saved_model" / "another.txt").write_text(version)
    items, dim = np.load(directory / "index/vectors.npy", mmap_mode="r").shape
    write_items(directory / "items.jsonl", _items(items, version))
    _seal(directory, version, items, dim)
    return directory


def item_id(number: int) -> str:
    """Returns the id of an item; the same in every version."""
    return f"i{number:06d}"


def _seal(directory: Path, version: str, items: int, dim: int) -> None:
    card = json.loads((directory / "encoder/encoder.json").read_text())
    write_manifest(
        directory,
        Manifest(
            version=version,
            created="2026-11-22T12:00:00+00:00",
            mode="scratch",
            items=items,
            embedding_dim=dim,
            encoder_digest=card["digest"],
            taxonomy_digest=sha256_file(directory / "taxonomy.csv"),
            index=INDEX.to_json(),
            lineage={},
            parameters={},
            metrics={},
            files=list_files(directory),
        ),
    )


def _taxonomy() -> str:
    rows = ["taxon_id,parent_id,name,class_id,status,redirect", "root,,Everything,0,active,"]
    number = 0
    for department in range(DEPARTMENTS):
        number += 1
        rows.append(f"d{department},root,Department {department},{number},active,")
        for leaf in range(LEAVES):
            number += 1
            rows.append(f"d{department}l{leaf},d{department},Leaf {leaf},{number},active,")
    return "\n".join(rows) + "\n"


def _items(items: int, version: str) -> list[Item]:
    return [
        Item(
            item_id=item_id(number),
            image=f"/nowhere/{number:06d}.jpg",
            content_hash=f"{number:064x}",
            taxon_id=f"d{number % DEPARTMENTS}l{number // DEPARTMENTS % LEAVES}",
            product_id=f"p{number // VIEWS}",
            title=f"{version}: a thing of many words, number {number}",
        )
        for number in range(items)
    ]


def _write_golden(directory: Path, encode: object, images: Sequence[bytes]) -> None:
    folder = directory / "golden" / "images"
    folder.mkdir(parents=True)
    for number, data in enumerate(images):
        (folder / f"{number:03d}.jpg").write_bytes(data)
    queries = np.concatenate([encode([admit(data)]) for data in images])  # type: ignore[operator]
    np.save(directory / "golden" / "queries.npy", queries)
    hits = [BundleIndex.load(directory).answer(query[None], 10)[0] for query in queries]
    write_json(
        directory / "golden" / "answers.json",
        {
            "k": 10,
            "one_per_product": True,
            "queries": [
                {
                    "query_id": f"q{number}",
                    "kind": "shopper",
                    "image": f"golden/images/{number:03d}.jpg",
                    "item_ids": hit.item_ids,
                    "product_ids": hit.product_ids,
                    "scores": hit.scores,
                }
                for number, hit in enumerate(hits)
            ],
        },
    )


def make(
    directory: Path, *, versions: int, items: int, dim: int, other_encoders: bool = False
) -> list[Path]:
    """Makes the bundles `v1`, `v2` ... below a directory, unless they are there."""
    encoder = directory / "encoder"
    if not (encoder / "encoder.json").exists():
        save_encoder(encoder / "saved_model", dim)
        write_json(encoder / "encoder.json", {"digest": "bench", "embedding_dim": dim})
    made: list[Path] = []
    for number in range(1, versions + 1):
        version = f"v{number}"
        target = directory / (f"{version}-encoder" if other_encoders and made else version)
        # A bundle of before has no table of neighbours.
        parts = (target / "manifest.json", target / neighbours.NEIGHBOURS_FILE)
        if not all(part.exists() for part in parts):
            shutil.rmtree(target, ignore_errors=True)
            if made:
                derive(made[0], target, version, other_encoder=other_encoders)
            else:
                build(target, version, items=items, dim=dim, seed=1, encoder=encoder)
        made.append(target)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the bundles below a directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--bundles", type=int, default=3)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    options = parser.parse_args(arguments)
    make(options.directory, versions=options.bundles, items=options.items, dim=options.dim)
    return 0


if __name__ == "__main__":
    sys.exit(main())
