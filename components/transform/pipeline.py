"""The Beam pipeline: checked items in, TFRecord shards and TensorFlow Transform's graph out.

Each image goes through the graph's functions once and may be taken over from an earlier run. The
graph that is saved holds the training split's statistics, so it is made anew each time, from the
sums that are kept beside the images.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from PIL import Image
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils
from tfx_bsl.tfxio import tensor_adapter, tensor_representation_util

from components.contracts.beam_options import beam_job, beam_pipeline
from components.contracts.catalog import Item, write_items
from components.contracts.files import read_json_lines
from components.contracts.progress import Tally
from components.registry.kept import KeptFile
from components.transform import graph, kept_images
from components.transform.config import TransformConfig
from components.transform.prepare import DEAD, PrepareShard
from components.transform.shards import SPLITS, ShardPlan, order_of

RAW_METADATA = "metadata"
UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Prepared:
    """What the pipeline came to.

    Attributes:
        records: Examples written by split.
        sums: Of the training split's pixels per channel, and of their squares.
        taken_over: Images that an earlier run had decoded.
        failures: What could not be read or kept, in words.
    """

    records: Mapping[str, int]
    sums: Sequence[int]
    taken_over: int
    failures: tuple[str, ...]


def progress_of(examples: Path) -> Tally:
    """Returns where a run that writes into `examples` tells how far it is."""
    return Tally(str(examples / UNFINISHED / "progress"))


def run(
    *,
    items: Sequence[Item],
    source: str,
    plan: ShardPlan,
    label_paths: Mapping[str, Sequence[int]],
    config: TransformConfig,
    examples: Path,
    dead_letters: Path,
    registry: str = "",
) -> Prepared:
    """Writes every shard of examples.

    Args:
        items: Of the checked catalog.
        source: The name of their file, for the dead letters.
        plan: Where each item goes.
        label_paths: Taxon id to class ids from the department down.
        config: The step's settings.
        examples: Directory for the shards.
        dead_letters: File for the rejects, JSON lines in a stable order.
        registry: Where decoded images are kept for the next run; empty for nowhere.
    """
    key = kept_images.graph_key(config)
    kept = kept_images.open_kept(registry, key)
    listed = kept.read() if kept else None
    counts = {split: plan.count(split) for split in SPLITS}
    scratch = examples / UNFINISHED
    shards = _shards(items, plan, scratch, listed.files if listed else ())
    results_file = scratch / "results.jsonl"
    prepare = PrepareShard(
        config,
        source=source,
        examples=str(examples),
        counts=counts,
        label_paths=label_paths,
        registry=registry,
        key=key,
        tally=progress_of(examples),
    )
    with beam_job(new_pipeline(config), "transform") as pipeline:
        made = (
            pipeline
            | "Shards" >> beam.Create(shards)
            | "Prepare" >> beam.ParDo(prepare).with_outputs(DEAD, main="made")
        )
        _ = (
            made["made"]
            | "AllShards" >> beam.combiners.ToList()
            | "WriteResults" >> beam.Map(_write_lines, path=str(results_file))
        )
        _ = (
            made[DEAD]
            | beam.Map(
                lambda reject: json.dumps(asdict(reject), sort_keys=True, ensure_ascii=False)
            )
            | "AllDead" >> beam.combiners.ToList()
            | "WriteDead" >> beam.Map(_write_lines, path=str(dead_letters))
        )
    results = list(read_json_lines(results_file))
    failures = [text for result in results for text in result["failures"]]
    if kept:
        kept.publish([KeptFile(**one["kept"]) for one in results if one["kept"]], {})
        failures += kept.failures
    return Prepared(
        records={
            split: sum(one["records"] for one in results if one["split"] == split)
            for split in SPLITS
        },
        sums=kept_images.total(one["sums"] for one in results if one["split"] == "train"),
        taken_over=sum(one["taken_over"] for one in results),
        failures=tuple(failures),
    )


def _shards(
    items: Sequence[Item],
    plan: ShardPlan,
    scratch: Path,
    kept: Sequence[KeptFile],
) -> list[str]:
    """Writes each shard's items to a file; returns what Beam is given of each shard, as JSON."""
    groups: dict[tuple[str, int], list[Item]] = {
        (split, shard): [] for split in SPLITS for shard in range(plan.count(split))
    }
    for item in items:
        split = plan.split(item.product_id)
        groups[split, plan.shard(split, item.item_id)].append(item)
    shards: list[str] = []
    for (split, shard), group in groups.items():
        path = scratch / f"{split}-{shard:05d}.jsonl"
        write_items(path, group)
        orders = [order_of(item.item_id) for item in group]
        files = kept_images.overlapping(kept, split, min(orders), max(orders)) if orders else []
        description = {
            "split": split,
            "shard": shard,
            "items": str(path),
            "kept": [asdict(file) for file in files],
        }
        shards.append(json.dumps(description, sort_keys=True))
    return shards


def _write_lines(lines: Iterable[str], path: str) -> None:
    with tf.io.gfile.GFile(f"{path}.partial", "w") as file:
        file.write("".join(f"{line}\n" for line in sorted(lines)))
    tf.io.gfile.rename(f"{path}.partial", path, overwrite=True)


def write_graph(prepared: Prepared, config: TransformConfig, transform_graph: Path) -> None:
    """Writes TensorFlow Transform's output for the training split's statistics.

    Args:
        prepared: What the pipeline came to; its training split holds an example.
        config: The step's settings.
        transform_graph: Directory to write into.
    """
    mean, deviation = channel_moments(prepared, config)
    spec = graph.raw_feature_spec()
    metadata = dataset_metadata.DatasetMetadata.from_feature_spec(spec)
    schema = pa.schema([pa.field(graph.INPUT, pa.list_(pa.binary()))])
    representations = tensor_representation_util.InferTensorRepresentationsFromSchema(
        schema_utils.schema_from_feature_spec(spec)
    )
    adapter = tensor_adapter.TensorAdapterConfig(schema, representations)
    # All data has been analysed: what is left to trace needs none, and no other machine.
    nothing = pa.RecordBatch.from_arrays([pa.array([], pa.list_(pa.binary()))], schema=schema)
    with (
        tempfile.TemporaryDirectory(prefix="lookalike-transform-") as temporary,
        beam_pipeline((), "transform.beam_options") as pipeline,
        tft_beam.Context(temp_dir=temporary),
    ):
        transform_fn = (
            pipeline | "Nothing" >> beam.Create([nothing]),
            adapter,
        ) | "Analyze" >> tft_beam.AnalyzeDataset(graph.preprocessing_fn(config, mean, deviation))
        _ = transform_fn | "WriteGraph" >> tft_beam.WriteTransformFn(str(transform_graph))
    metadata_io.write_metadata(metadata, str(transform_graph / RAW_METADATA))


def channel_moments(prepared: Prepared, config: TransformConfig) -> tuple[list[float], list[float]]:
    """Returns mean and standard deviation per channel over the training split's pixels."""
    pixels = prepared.records["train"] * config.stored_size**2
    mean, square = np.array(prepared.sums, np.float64).reshape(2, 3) / pixels
    return mean.tolist(), np.sqrt(np.maximum(square - mean**2, 0.0)).tolist()


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


def new_pipeline(config: TransformConfig) -> Any:
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
