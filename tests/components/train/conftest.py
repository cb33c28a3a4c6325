"""A tiny catalog as transform leaves it: plain shapes on white, three leaves, two departments."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.contracts.files import write_json
from components.contracts.taxonomy import Taxonomy

STORED_SIZE = 32
TAXONOMY = """taxon_id,parent_id,name
root,,All
seating,root,Seating
chairs,seating,Chairs
sofas,seating,Sofas
lighting,root,Lighting
lamps,lighting,Lamps
"""
# Product, deepest known node, split. A vote that agreed on the department only is no leaf.
PRODUCTS = [
    *((f"chair-{n}", "chairs", "train") for n in range(4)),
    *((f"sofa-{n}", "sofas", "train") for n in range(3)),
    ("seat-of-some-kind", "seating", "train"),
    *((f"lamp-{n}", "lamps", "train") for n in range(4)),
    ("lamp-unseen", "lamps", "unseen"),
]
VIEWS = 4


def draw(product: int, view: int) -> tuple[np.ndarray, np.ndarray]:
    """A coloured rectangle on white, and the mask of the white."""
    rng = np.random.default_rng([product, view])
    image = np.full((STORED_SIZE, STORED_SIZE, 3), 255, np.uint8)
    mask = np.full((STORED_SIZE, STORED_SIZE), 255, np.uint8)
    top, left = rng.integers(3, 8, 2)
    rows, columns = slice(top, top + 10 + product), slice(left, left + 20 - product)
    image[rows, columns] = np.random.default_rng(product).integers(0, 200, 3)
    mask[rows, columns] = 0
    return image, mask


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    return Taxonomy.parse(TAXONOMY.encode())


@pytest.fixture(scope="session")
def taxonomy_file(tmp_path_factory, taxonomy) -> Path:
    path = tmp_path_factory.mktemp("taxonomy") / "taxonomy.csv"
    taxonomy.write(path)
    return path


@pytest.fixture(scope="session")
def examples(tmp_path_factory, taxonomy) -> Path:
    import tensorflow as tf

    root = tmp_path_factory.mktemp("examples")

    def text(*values: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    records: dict[str, list[bytes]] = {"train": [], "unseen": []}
    for number, (product, node, split) in enumerate(PRODUCTS):
        path = [taxonomy.class_id(taxon) for taxon in taxonomy.path(node)]
        for view in range(VIEWS):
            image, mask = draw(number, view)
            features = {
                "image": text(image.tobytes()),
                "background": text(mask.tobytes()),
                "item_id": text(f"{product}-{view}".encode()),
                "product_id": text(product.encode()),
                "label_path": tf.train.Feature(int64_list=tf.train.Int64List(value=path)),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            records[split].append(example.SerializeToString())
    counts = {}
    for split, shards in (("train", 2), ("unseen", 1)):
        (root / split).mkdir()
        for shard in range(shards):
            name = f"part-{shard:05d}-of-{shards:05d}.tfrecord"
            with tf.io.TFRecordWriter(str(root / split / name)) as writer:
                for record in records[split][shard::shards]:
                    writer.write(record)
        counts[split] = {"examples": len(records[split]), "shards": shards}
    write_json(
        root / "statistics.json",
        {
            "stored_size": STORED_SIZE,
            **counts,
            "channel_mean": [220.0, 220.0, 220.0],
            "channel_std": [60.0, 60.0, 60.0],
        },
    )
    return root


@pytest.fixture(scope="session")
def transform_graph(tmp_path_factory) -> Path:
    """The transform step's own graph, analysed over a handful of images."""
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    from components.transform.config import TransformConfig
    from components.transform.graph import preprocessing_fn, raw_feature_spec

    directory = tmp_path_factory.mktemp("graph")
    metadata = dataset_metadata.DatasetMetadata(
        schema_utils.schema_from_feature_spec(raw_feature_spec())
    )
    rows = [{"image_bytes": png(draw(number, 0)[0])} for number in range(4)]
    scratch = str(tmp_path_factory.mktemp("beam"))
    with beam.Pipeline("DirectRunner") as pipeline, tft_beam.Context(temp_dir=scratch):
        raw = (pipeline | beam.Create(rows), metadata)
        transform_fn = raw | tft_beam.AnalyzeDataset(
            preprocessing_fn(
                TransformConfig(stored_size=STORED_SIZE), mean=[128.0] * 3, deviation=[64.0] * 3
            )
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(directory))
    return directory


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
