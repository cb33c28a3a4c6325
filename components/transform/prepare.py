"""One shard of examples: its items' images taken over or decoded, and written as one file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf

from components.contracts.catalog import Item, Reject, read_items
from components.contracts.files import sha256_bytes
from components.contracts.image_reading import Refusal, read_ahead
from components.contracts.progress import Tally
from components.contracts.web_addresses import shown_uri
from components.registry.kept import Kept, KeptFile
from components.transform import graph, kept_images
from components.transform.config import TransformConfig
from components.transform.kept_images import Decoded
from components.transform.shards import order_of, shard_name

DEAD = "dead"


class PrepareShard(beam.DoFn):  # type: ignore[misc]  # Beam ships no types.
    """Makes one shard of examples from the list of its items.

    Only names of files and counts pass between processes: memory hangs on the size of a shard and
    not on how many there are.
    """

    def __init__(
        self,
        config: TransformConfig,
        *,
        source: str,
        examples: str,
        counts: Mapping[str, int],
        label_paths: Mapping[str, Sequence[int]],
        registry: str,
        key: str,
        tally: Tally,
    ) -> None:
        """Keeps what every shard needs.

        Args:
            config: The step's settings.
            source: The name of the items' file, for the dead letters.
            examples: Directory for the shards.
            counts: Number of shards by split.
            label_paths: Taxon id to class ids from the department down.
            registry: Where decoded images are kept; empty for nowhere.
            key: What they are kept under.
            tally: Where to tell what is done.
        """
        self._config = config
        self._source = source
        self._examples = examples
        self._counts = dict(counts)
        self._label_paths = {taxon: list(path) for taxon, path in label_paths.items()}
        self._registry = registry
        self._key = key
        self._tally = tally
        self._graph: Any = None

    def setup(self) -> None:
        """Traces the graph; a process among several keeps to one thread each."""
        if self._config.workers > 1:
            # Refused once TensorFlow has begun, as where the runner shares the step's process.
            with contextlib.suppress(RuntimeError):
                tf.config.threading.set_intra_op_parallelism_threads(1)
                tf.config.threading.set_inter_op_parallelism_threads(1)
        self._graph = graph.decoder(self._config)

    def process(self, element: str) -> Iterator[Any]:
        """Turns a shard's description into its file.

        Yields what came of it, as JSON, and dead letters. The description has `split`, `shard`,
        `items` (a file) and `kept` (files to look into).
        """
        shard = json.loads(element)
        items = sorted(read_items(Path(shard["items"])), key=lambda item: order_of(item.item_id))
        kept = kept_images.open_kept(self._registry, self._key)
        files = [KeptFile(**file) for file in shard["kept"]]
        known = self._known(kept, files, {item.content_hash for item in items})
        missing = [item for item in items if item.content_hash not in known]
        taken_over = len(items) - len(missing)
        if taken_over:
            self._tally.add(taken_over)
        dead: set[str] = set()
        for item, found in self._decode(missing):
            if isinstance(found, Decoded):
                known[item.content_hash] = found
            else:
                dead.add(item.item_id)
                yield self._dead(item, *found)
        there = [item for item in items if item.item_id not in dead]
        self._write(shard, there, known)
        result = {
            "split": shard["split"],
            "shard": shard["shard"],
            "records": len(there),
            "taken_over": taken_over,
            "sums": kept_images.total(known[item.content_hash].sums for item in there),
            "kept": self._keep(kept, files, there, known, shard["split"]),
            "failures": kept.failures if kept else [],
        }
        yield json.dumps(result, sort_keys=True)

    def _known(
        self, kept: Kept | None, files: Sequence[KeptFile], wanted: set[str]
    ) -> dict[str, Decoded]:
        known: dict[str, Decoded] = {}
        for file in files:
            if kept and (data := kept.fetch(file)) is not None:
                size = self._config.stored_size
                known |= kept_images.read_rows(data, size=size, wanted=wanted)
        return known

    def _decode(self, items: Sequence[Item]) -> Iterator[tuple[Item, Decoded | Refusal]]:
        """Yields each item with what the graph makes of its image, or why there is nothing."""
        size, limits = self._config.batch_size, self._config.image_limits
        batch: list[tuple[Item, bytes]] = []
        for item, found in read_ahead(items, limits, ahead=2 * size):
            if isinstance(found, bytes):
                batch.append((item, found))
                if len(batch) == size:
                    yield from self._through_graph(batch)
                    batch = []
            else:
                yield item, found
        if batch:
            yield from self._through_graph(batch)

    def _through_graph(
        self, batch: Sequence[tuple[Item, bytes]]
    ) -> Iterator[tuple[Item, Decoded | Refusal]]:
        try:
            results = self._graph(tf.constant([data for _, data in batch], tf.string))
        except tf.errors.InvalidArgumentError as error:
            if len(batch) > 1:
                # One image that the graph cannot decode fails its whole batch: find it alone.
                for one in batch:
                    yield from self._through_graph([one])
                return
            text = f"the preprocessing graph cannot decode it ({error.message})"
            yield batch[0][0], ("undecodable_image", text)
            return
        pixels, background = (result.numpy() for result in results)
        masks = np.where(background, np.uint8(255), np.uint8(0))
        for (item, _), image, mask in zip(batch, pixels, masks, strict=True):
            yield item, Decoded(image.tobytes(), mask.tobytes(), kept_images.sums_of(image))
        self._tally.add(len(batch))

    def _write(
        self, shard: Mapping[str, Any], items: Sequence[Item], known: Mapping[str, Decoded]
    ) -> None:
        """Writes the shard: records in the order of their hash, whole or not at all."""
        folder = f"{self._examples}/{shard['split']}"
        path = f"{folder}/{shard_name(shard['shard'], self._counts[shard['split']])}"
        tf.io.gfile.makedirs(folder)
        with tf.io.TFRecordWriter(f"{path}.partial") as writer:
            for item in items:
                decoded = known[item.content_hash]
                labels = self._label_paths[item.taxon_id]
                features = {
                    "image": _bytes(decoded.image),
                    "background": _bytes(decoded.background),
                    "item_id": _bytes(item.item_id.encode()),
                    "product_id": _bytes(item.product_id.encode()),
                    "label_path": tf.train.Feature(int64_list=tf.train.Int64List(value=labels)),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString(deterministic=True))
        tf.io.gfile.rename(f"{path}.partial", path, overwrite=True)

    def _keep(
        self,
        kept: Kept | None,
        files: Sequence[KeptFile],
        items: Sequence[Item],
        known: Mapping[str, Decoded],
        split: str,
    ) -> dict[str, Any] | None:
        if not kept or not items:
            return None
        rows = {item.content_hash: known[item.content_hash] for item in items}
        about = {
            "split": split,
            "first": order_of(items[0].item_id),
            "last": order_of(items[-1].item_id),
            "rows": sha256_bytes(" ".join(rows).encode()),
        }
        damaged = bool(kept.failures)
        same = next((file for file in files if file.about == about), None)
        # A file that could not be read is written anew, under the same name where it is the same.
        file = (
            same
            if same and not damaged
            else kept.put(kept_images.write_rows([*rows.items()]), about)
        )
        return asdict(file) if file else None

    def _dead(self, item: Item, reason: str, detail: str) -> Any:
        self._tally.add(1, rejects=1)
        shown = shown_uri(item.image)
        text = detail if shown in detail else f"{shown}: {detail}"
        reject = Reject("image", item.item_id, self._source, 0, reason, text)
        return beam.pvalue.TaggedOutput(DEAD, reject)


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
