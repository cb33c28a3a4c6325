"""The Beam pipeline: checked items in, TensorFlow Transform's graph and TFRecord shards out."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from PIL import Image
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils
from tfx_bsl.tfxio import tensor_adapter, tensor_representation_util

from components.contracts.beam_options import beam_pipeline
from components.contracts.catalog import Item, Reject
from components.contracts.files import sha256_bytes
from components.contracts.images import BadImageError, ImageLimits, admit, read_image
from components.contracts.web_addresses import shown_uri
from components.transform import graph
from components.transform.config import TransformConfig
from components.transform.shards import SPLITS, ShardPlan, order_of, shard_name, split_of

RAW_METADATA = "metadata"
# What travels beside the image through TensorFlow Transform without being part of the graph.
_RECORD = "record"
_DEAD = "dead"


class Admit(beam.DoFn):  # type: ignore[misc]  # Beam ships no types.
    """Reads and checks images; what cannot be decoded goes to the dead letters, never further."""

    # Called with (done, rejects) where the runner shares the process of the step; other
    # processes have no one to tell.
    report: ClassVar[Callable[[int, int], None] | None] = None

    def __init__(self, source: str, limits: ImageLimits) -> None:
        """Keeps the name of the items' file, for the dead letters, and the images' bounds."""
        self._source = source
        self._limits = limits

    def process(self, line: str) -> Iterator[Any]:
        """Turns one line of items.jsonl into (item, image bytes) or a dead letter."""
        item = Item(**json.loads(line))
        try:
            data = read_image(item.image, self._limits)
            if sha256_bytes(data) != item.content_hash:
                raise BadImageError(
                    "changed_image",
                    f"{shown_uri(item.image)}: expected the bytes that the catalog step saw, "
                    "found others; run the catalog step again",
                )
            yield item, admit(data, self._limits)
        except BadImageError as error:
            yield self._dead(item, error.reason, str(error))
        # Whatever a hostile file does to a decoder, it must not end the job for the others.
        except Exception as error:
            yield self._dead(item, "undecodable_image", f"{shown_uri(item.image)}: {error!r}")

    def _dead(self, item: Item, reason: str, detail: str) -> Any:
        if Admit.report:
            Admit.report(1, 1)
        shown = shown_uri(item.image)
        text = detail if shown in detail else f"{shown}: {detail}"
        reject = Reject("image", item.item_id, self._source, 0, reason, text)
        return beam.pvalue.TaggedOutput(_DEAD, reject)


class WriteShard(beam.DoFn):  # type: ignore[misc]  # Beam ships no types.
    """Writes one shard: records in the order of their hash, whole or not at all."""

    def __init__(self, directory: str, counts: Mapping[str, int]) -> None:
        """Keeps the examples' directory and the number of shards of each split."""
        self._directory = directory
        self._counts = dict(counts)

    def process(self, element: tuple[tuple[str, int], Any]) -> Iterator[tuple[str, int, int]]:
        """Writes the shard; yields (split, shard, how many records)."""
        (split, shard), grouped = element
        records = sorted(record for record in grouped if record is not None)
        path = f"{self._directory}/{split}/{shard_name(shard, self._counts[split])}"
        tf.io.gfile.makedirs(f"{self._directory}/{split}")
        with tf.io.TFRecordWriter(f"{path}.partial") as writer:
            for _, example in records:
                writer.write(example)
        tf.io.gfile.rename(f"{path}.partial", path, overwrite=True)
        yield split, shard, len(records)


def _to_record_batch(rows: Sequence[tuple[bytes, bytes]]) -> pa.RecordBatch:
    images, records = zip(*rows, strict=True)
    kind = pa.list_(pa.binary())
    return pa.RecordBatch.from_arrays(
        [pa.array([[value] for value in column], kind) for column in (images, records)],
        schema=_arrow_schema(),
    )


def _arrow_schema() -> pa.Schema:
    kind = pa.list_(pa.binary())
    return pa.schema([pa.field(graph.INPUT, kind), pa.field(_RECORD, kind)])


def _adapter_config() -> tensor_adapter.TensorAdapterConfig:
    schema = schema_utils.schema_from_feature_spec(graph.raw_feature_spec())
    representations = tensor_representation_util.InferTensorRepresentationsFromSchema(schema)
    return tensor_adapter.TensorAdapterConfig(_arrow_schema(), representations)


def _to_row(
    element: tuple[Item, bytes], *, split: str, plan: ShardPlan, paths: Mapping[str, Sequence[int]]
) -> tuple[bytes, bytes]:
    item, data = element
    record = {
        "item_id": item.item_id,
        "product_id": item.product_id,
        "label_path": list(paths[item.taxon_id]),
        "split": split,
        "shard": plan.shard(split, item.item_id),
    }
    return data, json.dumps(record).encode()


def _to_examples(transformed: Any, *, size: int) -> Iterator[tuple[tuple[str, int], Any]]:
    """Turns a transformed record batch into ((split, shard), (order, serialised example))."""
    batch = transformed[0] if isinstance(transformed, tuple) else transformed
    rows = batch.num_rows
    images = _pixels(batch.column(graph.IMAGE), (rows, size, size, 3))
    backgrounds = _pixels(batch.column(graph.BACKGROUND), (rows, size, size))
    for index, (text,) in enumerate(batch.column(_RECORD).to_pylist()):
        record = json.loads(text)
        features = {
            "image": _bytes(images[index].tobytes()),
            "background": _bytes(backgrounds[index].tobytes()),
            "item_id": _bytes(record["item_id"].encode()),
            "product_id": _bytes(record["product_id"].encode()),
            "label_path": tf.train.Feature(
                int64_list=tf.train.Int64List(value=record["label_path"])
            ),
        }
        example = tf.train.Example(features=tf.train.Features(feature=features))
        order = order_of(record["item_id"])
        yield (
            (record["split"], record["shard"]),
            (order, example.SerializeToString(deterministic=True)),
        )
    # An image is done when its example is made: the graph, not the reading, takes the time.
    if Admit.report:
        Admit.report(rows, 0)


def _pixels(column: pa.Array, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    flat = column
    while pa.types.is_list(flat.type) or pa.types.is_large_list(flat.type):
        flat = flat.flatten()
    values: np.ndarray[Any, np.dtype[Any]] = flat.to_numpy(zero_copy_only=False)
    return values.reshape(shape).astype(np.uint8)


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _write_lines(lines: Iterable[dict[str, Any]], path: str) -> None:
    text = "".join(
        json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n"
        for line in sorted(lines, key=lambda line: json.dumps(line, sort_keys=True))
    )
    with tf.io.gfile.GFile(f"{path}.partial", "w") as file:
        file.write(text)
    tf.io.gfile.rename(f"{path}.partial", path, overwrite=True)


def _shard_count(shard: tuple[str, int, int]) -> dict[str, Any]:
    return {"split": shard[0], "shard": shard[1], "records": shard[2]}


def run(
    *,
    items: Path,
    plan: ShardPlan,
    label_paths: Mapping[str, Sequence[int]],
    config: TransformConfig,
    examples: Path,
    transform_graph: Path,
    dead_letters: Path,
    shard_counts: Path,
) -> None:
    """Runs the pipeline to its end.

    Args:
        items: `items.jsonl` of the checked catalog.
        plan: Where each item goes.
        label_paths: Taxon id to class ids from the department down.
        config: The step's settings.
        examples: Directory for the shards.
        transform_graph: Directory for TensorFlow Transform's output.
        dead_letters: File for the rejects, JSON lines in a stable order.
        shard_counts: File for how many records each shard got, JSON lines.
    """
    adapter = _adapter_config()
    counts = {split: plan.count(split) for split in SPLITS}
    with (
        tempfile.TemporaryDirectory(prefix="lookalike-transform-") as temporary,
        new_pipeline(config) as pipeline,
        tft_beam.Context(temp_dir=temporary, passthrough_keys={_RECORD}),
    ):
        admitted = (
            pipeline
            | "ReadItems" >> beam.io.ReadFromText(str(items))
            | "Admit"
            >> beam.ParDo(Admit(str(items), config.image_limits)).with_outputs(
                _DEAD, main="admitted"
            )
        )
        train, unseen = (
            admitted["admitted"]
            | f"Only[{split}]"
            >> beam.Filter(
                lambda element, split=split: split_of(element[0].product_id, config) == split
            )
            | f"Rows[{split}]" >> beam.Map(_to_row, split=split, plan=plan, paths=label_paths)
            # A fixed size: batches sized by the clock would sum the statistics in another order.
            | f"Batch[{split}]" >> beam.BatchElements(config.batch_size, config.batch_size)
            | f"Arrow[{split}]" >> beam.Map(_to_record_batch)
            for split in SPLITS
        )
        (trained, _), transform_fn = (
            train,
            adapter,
        ) | "Train" >> tft_beam.AnalyzeAndTransformDataset(
            graph.preprocessing_fn(config), output_record_batches=True
        )
        held_out, _ = ((unseen, adapter), transform_fn) | "Unseen" >> tft_beam.TransformDataset(
            output_record_batches=True
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(transform_graph))

        # Every planned shard is written, also one whose images all turned out undecodable.
        planned = pipeline | "Plan" >> beam.Create(
            [((split, shard), None) for split in SPLITS for shard in range(counts[split])]
        )
        written = (
            (
                trained | "Examples[train]" >> beam.FlatMap(_to_examples, size=config.stored_size),
                held_out
                | "Examples[unseen]" >> beam.FlatMap(_to_examples, size=config.stored_size),
                planned,
            )
            | beam.Flatten()
            | "ByShard" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(WriteShard(str(examples), counts))
        )
        _ = (
            written
            | beam.Map(_shard_count)
            | "AllShards" >> beam.combiners.ToList()
            | "WriteCounts" >> beam.Map(_write_lines, path=str(shard_counts))
        )
        _ = (
            admitted[_DEAD]
            | beam.Map(asdict)
            | "AllDead" >> beam.combiners.ToList()
            | "WriteDead" >> beam.Map(_write_lines, path=str(dead_letters))
        )

    metadata_io.write_metadata(
        dataset_metadata.DatasetMetadata.from_feature_spec(graph.raw_feature_spec()),
        str(transform_graph / RAW_METADATA),
    )


def channel_statistics(transform_graph: Path) -> tuple[list[float], list[float]]:
    """Returns the mean and standard deviation per channel that the written graph holds."""
    layer = tft.TFTransformOutput(str(transform_graph)).transform_features_layer()
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="PNG")
    outputs = layer({graph.INPUT: tf.constant([buffer.getvalue()])})
    mean, deviation = (
        [round(float(value), 4) for value in outputs[name].numpy()[0]]
        for name in (graph.CHANNEL_MEAN, graph.CHANNEL_STD)
    )
    return mean, deviation


def new_pipeline(config: TransformConfig) -> beam.Pipeline:
    """Returns an empty pipeline on the runner that the settings ask for."""
    processes = (
        "--direct_running_mode=multi_processing",
        f"--direct_num_workers={config.workers}",
    )
    return beam_pipeline(
        config.beam_options,
        "transform.beam_options",
        local=processes if config.workers > 1 else (),
    )
