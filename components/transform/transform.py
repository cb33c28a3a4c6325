"""The transform step: checked items in, training examples and the preprocessing graph out."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.contracts import catalog
from components.contracts.catalog import Item, Reject
from components.contracts.errors import InputError, LookalikeError, full_disk_told
from components.contracts.files import (
    fresh_directory,
    write_atomically,
    write_json,
)
from components.contracts.near_duplicates import NEAR_DUPLICATES_FILE, NearDuplicates
from components.contracts.processors import available_processors
from components.contracts.progress import Progress
from components.contracts.taxonomy import Taxonomy
from components.transform.config import TransformConfig
from components.transform.rare_classes import TrainedLabels
from components.transform.report import render, render_skipped
from components.transform.shards import SPLITS, ShardPlan, unseen_products

STATISTICS_FILE = "statistics.json"
REUSE_FILE = "reuse.json"
DEAD_LETTERS_FILE = "dead_letters.jsonl"
SKIPPED_FILE = "skipped.json"
MODES = ("scratch", "warm", "reuse")
# A process of the local runner takes seconds to import TensorFlow.
_WORTH_WORKERS = 10_000
_MOST_WORKERS = 16


@full_disk_told("transform")
def transform_examples(
    *,
    checked: Path,
    mode: str,
    config: TransformConfig,
    examples: Path,
    transform_graph: Path,
    report: Path,
    registry: str = "",
) -> dict[str, float]:
    """Decodes, resizes and shards the catalog's images with Beam and TensorFlow Transform.

    Products are split by their id: a share of them (`config.unseen_fraction`) goes to `unseen`,
    everything else to `train`, and so do those that share an image with what is trained on. The
    channel statistics in the graph come from `train` alone.

    An image that an earlier run has decoded with the same graph is taken over by its content hash.
    What hangs on all images (the statistics, the graph with them inside) is made anew from
    the sums kept beside each image; what hangs on the catalog (labels, splits, shards), too.

    Args:
        checked: What the catalog step wrote.
        mode: `scratch` or `warm`; `reuse` writes only a note, because the live encoder brings its
            own graph and nothing is trained.
        config: The step's settings.
        examples: Directory for the TFRecord shards, `statistics.json` and `dead_letters.jsonl`;
            emptied first, and whole once `statistics.json` is there.
        transform_graph: Directory for TensorFlow Transform's output; emptied first.
        report: The HTML file to write.
        registry: Where decoded images are kept for the next run; empty for nowhere.

    Returns:
        Figures for the pipeline's metrics.

    Raises:
        InputError: The checked catalog has no item to train on, or the mode is unknown.
        LookalikeError: More images than `config.max_reject_share` cannot be decoded.
    """
    if mode not in MODES:
        raise InputError(f"mode {mode!r}: expected {', '.join(MODES)}")
    fresh_directory(examples)
    fresh_directory(transform_graph)
    if mode == "reuse":
        note = {
            "skipped": True,
            "reason": "mode reuse: the live encoder brings its own preprocessing graph, and "
            "nothing is trained",
        }
        write_json(transform_graph / SKIPPED_FILE, note)
        write_json(examples / SKIPPED_FILE, note)
        write_atomically(report, render_skipped(str(note["reason"])))
        return {"skipped": 1.0}

    items_file = checked / catalog.ITEMS_FILE
    items = catalog.read_items(items_file)
    taxonomy = Taxonomy.read(checked / catalog.TAXONOMY_FILE)
    copies = NearDuplicates.read(checked / NEAR_DUPLICATES_FILE)
    plan = _plan(items_file, items, config, copies)
    statistics = _run(
        items_file, items, taxonomy, plan, config, examples, transform_graph, registry
    )
    statistics["near_duplicates"] = {
        "products": sum(map(len, copies.products)),
        "trained_for_a_copy": len(
            unseen_products({item.product_id for item in items}, config, NearDuplicates())
            - plan.unseen
        ),
    }
    dead = catalog.read_rejects(examples / DEAD_LETTERS_FILE)
    write_atomically(
        report, render(statistics=statistics, taxonomy=taxonomy, dead=dead, examples=examples)
    )
    _stop_on_rejects(dead, total=len(items), config=config, source=str(items_file))
    if not statistics["train"]["examples"]:
        raise LookalikeError(
            f"{items_file}: expected training images, but none could be decoded; see {report}"
        )
    # Apart from the statistics: examples are the same ones however they were come by, and training
    # goes on from its checkpoints only where the statistics' file is the same.
    reuse = {name: statistics.pop(name) for name in ("taken_over", "decoded")}
    write_json(examples / REUSE_FILE, reuse)
    write_json(examples / STATISTICS_FILE, statistics)
    return {
        "train_examples": float(statistics["train"]["examples"]),
        "unseen_examples": float(statistics["unseen"]["examples"]),
        "train_products": float(statistics["train"]["products"]),
        "unseen_products": float(statistics["unseen"]["products"]),
        "rare_classes": float(len(statistics["rare_classes"])),
        "trained_for_a_copy": float(statistics["near_duplicates"]["trained_for_a_copy"]),
        "dead_letters": float(len(dead)),
        **{name: float(count) for name, count in reuse.items()},
    }


def _plan(
    items_file: Path, items: Sequence[Item], config: TransformConfig, copies: NearDuplicates
) -> ShardPlan:
    plan = ShardPlan.of(items, config, copies)
    if all(item.product_id in plan.unseen for item in items):
        raise InputError(
            f"{items_file}: expected items to train on, found none among {len(items)} "
            f"(transform.unseen_fraction is {config.unseen_fraction})"
        )
    return plan


def _run(
    items_file: Path,
    items: Sequence[Item],
    taxonomy: Taxonomy,
    plan: ShardPlan,
    config: TransformConfig,
    examples: Path,
    transform_graph: Path,
    registry: str,
) -> dict[str, Any]:
    """Runs the pipeline and returns what statistics.json will say."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Here and not above: importing TensorFlow takes seconds, and mode reuse needs none of it.
    from components.transform import pipeline  # noqa: PLC0415

    labels = TrainedLabels.of(
        taxonomy,
        labels=(item.taxon_id for item in items),
        trained=(item.taxon_id for item in items if plan.split(item.product_id) == "train"),
        minimum=config.min_class_images,
    )
    label_paths = {
        taxon_id: tuple(taxonomy.class_id(node) for node in path)
        for taxon_id, path in labels.paths.items()
    }
    config = dataclasses.replace(config, workers=_workers(config, len(items)))
    with Progress("transform", total=len(items), unit="images") as progress:
        try:
            with progress.following(pipeline.progress_of(examples)):
                prepared = pipeline.run(
                    items=items,
                    source=str(items_file),
                    plan=plan,
                    label_paths=label_paths,
                    config=config,
                    examples=examples,
                    dead_letters=examples / DEAD_LETTERS_FILE,
                    registry=registry,
                )
        finally:
            shutil.rmtree(examples / pipeline.UNFINISHED, ignore_errors=True)
        # Workers on other machines may see another folder than this process does.
        progress.advance(len(items) - progress.done, note=f"{prepared.taken_over} taken over")
    for failure in prepared.failures:
        print(f"transform: {failure}", flush=True)
    dead = catalog.read_rejects(examples / DEAD_LETTERS_FILE)
    lost = {reject.key for reject in dead}
    mean = deviation = [0.0] * 3
    if prepared.records["train"]:
        pipeline.write_graph(prepared, config, transform_graph)
        mean, deviation = pipeline.channel_statistics(transform_graph)
    statistics: dict[str, Any] = {
        "stored_size": config.stored_size,
        "channel_mean": mean,
        "channel_std": deviation,
        "class_counts": {},
        "rare_classes": {
            taxon_id: {
                "images": labels.images[taxon_id],
                "trained_as": (labels.paths[taxon_id] or (taxonomy.root,))[-1],
            }
            for taxon_id in labels.cut
        },
        "rejects": dict(sorted(Counter(reject.reason for reject in dead).items())),
        "taken_over": prepared.taken_over,
        "decoded": len(items) - len(dead) - prepared.taken_over,
    }
    for split in SPLITS:
        kept = [
            item
            for item in items
            if item.item_id not in lost and plan.split(item.product_id) == split
        ]
        counted = prepared.records[split]
        if counted != len(kept):
            raise LookalikeError(
                f"{examples / split}: expected {len(kept)} examples ({len(items)} items without "
                f"{len(dead)} dead letters), the shards hold {counted}; nothing may get lost, so "
                "this output is not used: run the step again, and report it if it comes back"
            )
        statistics[split] = {
            "examples": len(kept),
            "shards": plan.count(split),
            "products": len({item.product_id for item in kept}),
        }
        if split == "train":
            classes = Counter(number for item in kept for number in label_paths[item.taxon_id])
            statistics["class_counts"] = {
                str(number): classes[number] for number in sorted(classes)
            }
    return statistics


def _workers(config: TransformConfig, images: int) -> int:
    """Returns how many processes the local runner starts."""
    if config.workers:
        return config.workers
    return min(available_processors(), _MOST_WORKERS) if images >= _WORTH_WORKERS else 1


def _stop_on_rejects(
    dead: Sequence[Reject], *, total: int, config: TransformConfig, source: str
) -> None:
    allowed = max(1, math.floor(config.max_reject_share * total))
    if len(dead) <= allowed:
        return
    reasons = Counter(reject.reason for reject in dead).most_common()
    counted = ", ".join(f"{reason} {count}" for reason, count in reasons)
    raise LookalikeError(
        f"{source}: {len(dead)} of {total} images were set aside ({counted}), more than the "
        f"{allowed} that transform.max_reject_share = {config.max_reject_share} allows; the "
        f"first: {dead[0].detail}. Repair the images, or raise the limit if this is meant"
    )
