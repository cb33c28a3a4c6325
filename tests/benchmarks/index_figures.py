"""The index's figures that need no other system; see bench_index.py."""

from __future__ import annotations

import hashlib
import itertools
import math
import multiprocessing
import resource
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from index_data import clustered

from components.contracts.catalog import Item, write_items
from components.contracts.embeddings import to_table
from components.contracts.files import write_json
from components.index import space
from components.index.build import build_index
from components.index.config import IndexConfig
from components.index.measure import Point, Questions
from components.index.queries import Sample
from components.index.tune import tune
from components.search import searcher as search
from components.search.retrieval import BundleIndex
from components.search.searcher import ExactSearcher, IndexParameters


@dataclass(frozen=True)
class Figure:
    """One figure beside its target.

    Attributes:
        name: What it is.
        value: As measured; None when there is none.
        target: What it has to reach; None for a figure that is only told.
        at_most: Whether the target is the most it may be.
    """

    name: str
    value: float | None
    target: float | None = None
    at_most: bool = False

    @property
    def missed(self) -> bool:
        """Whether a target is not reached."""
        if self.target is None:
            return False
        if self.value is None:
            return True
        return self.value > self.target if self.at_most else self.value < self.target

    def line(self) -> str:
        """Returns it as a line of the table."""
        value = "-" if self.value is None else f"{self.value:.3g}"
        target = ""
        if self.target is not None:
            target = f"{'<=' if self.at_most else '>='} {self.target:g}"
        return f"{self.name:<66} {value:>6}   {target:<8} {'MISSED' if self.missed else ''}"

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {"name": self.name, "value": self.value, "target": self.target}


def items_of(count: int) -> list[Item]:
    """Returns items with a product each."""
    return [Item(f"i{n}", "", "", "", f"p{n}") for n in range(count)]


def tuner(items: int = 30_000, dim: int = 64) -> list[Figure]:
    """Compares the tuner's choice with the best of an exhaustive grid, on small data.

    The grid is every combination of what the tuner may vary, built once each, with every setting of
    searching measured on the same number of queries. Both choices are timed again in turn on the
    queries that neither has seen.
    """
    vectors, queries = clustered(items, dim, 4000)
    config = IndexConfig(recall_target=0.98, brute_force_below=1000, tuning_queries=4000)
    started = time.perf_counter()
    tuned = tune(items_of(items), vectors, queries[:2000], config)
    tuned_in = time.perf_counter() - started
    exact = BundleIndex(items_of(items), vectors, ExactSearcher(vectors))
    asked = Questions(exact, Sample.of_photos(queries[:1000]), k=10, timed=config.latency_queries)
    started = time.perf_counter()
    points: list[tuple[Point, Any]] = []
    for parameters in grid(items):
        built = search.build(vectors, parameters)
        for leaves in space.leaf_counts(parameters):
            for width in space.reorder_widths(items, 10):
                one = built.tuned(reorder=width, leaves_to_search=leaves)
                points.append((asked.measure(one), one))
    grid_in = time.perf_counter() - started
    good = [one for one in points if one[0].recall_lower >= config.recall_target]
    rivals = [one for _, one in sorted(good, key=lambda one: one[0].cpu_ms)[:8]]
    fresh = Questions(exact, Sample.of_photos(queries[2000:]), k=10, timed=2000)
    # In turn, three times, so that a busy moment of the machine falls on all of them.
    times = [[fresh.measure(one).cpu_ms for one in (tuned.searcher, *rivals)] for _ in range(3)]
    ours, *theirs = np.min(times, axis=0)
    print(
        f"\ntuner: {len(tuned.points)} settings of {tuned.builds} indexes in {tuned_in:.0f} s, "
        f"chose {tuned.searcher.parameters}\ngrid: {len(points)} settings in {grid_in:.0f} s, "
        f"best {rivals[int(np.argmin(theirs))].parameters}",
        flush=True,
    )
    return [
        Figure(
            "tuner: time of its choice, x the grid's best", ours / min(theirs), 1.1, at_most=True
        ),
        Figure("tuner: its own time, x the grid's", tuned_in / grid_in, 0.2, at_most=True),
    ]


def grid(items: int) -> list[IndexParameters]:
    """Returns every combination of what an index can be built with."""
    tree, scan = space.starts(items, 64, IndexConfig(brute_force_below=1000))
    leaves = [round(tree.leaves * factor) for factor in (0.25, 0.5, 1.0, 2.0)]
    thresholds, both = space.ANISOTROPIC_THRESHOLDS, (False, True)
    return [
        replace(
            tree,
            leaves=count,
            leaves_to_search=1,
            soar=soar,
            bfloat16_reorder=small,
            anisotropic_threshold=threshold,
        )
        for count, soar, small, threshold in itertools.product(leaves, both, both, thresholds)
    ] + [
        replace(scan, bfloat16_reorder=small, anisotropic_threshold=threshold)
        for small, threshold in itertools.product(both, thresholds)
    ]


def promise(seeds: int, items: int = 3000, dim: int = 32) -> list[Figure]:
    """Counts how often fresh queries keep the lower bound that the tuner promises."""
    kept = 0
    slack = []
    for seed in range(seeds):
        vectors, queries = clustered(items, dim, 4000, seed=seed)
        config = IndexConfig(
            backend="tree_ah",
            recall_target=0.95,
            tuning_queries=1000,
            latency_queries=10,
            tuning_seconds=0.0,
            seed=seed,
        )
        tuned = tune(items_of(items), vectors, queries[:1000], config)
        index = BundleIndex(items_of(items), vectors, ExactSearcher(vectors))
        fresh = Questions(index, Sample.of_photos(queries[1000:]), k=10, timed=1).measure(
            tuned.searcher
        )
        kept += fresh.recall >= tuned.held_out.recall_lower
        slack.append(fresh.recall - tuned.held_out.recall_lower)
    print(
        f"\npromise: kept by {kept} of {seeds} seeds; fresh recall lies {np.mean(slack):.4f} above "
        f"it on average, {min(slack):.4f} at worst",
        flush=True,
    )
    return [Figure("promise: seeds of 100 whose bound holds", 100 * kept / seeds, 90.0)]


def load(items: int, work: Path, dim: int = 128) -> list[Figure]:
    """Compares loading an index from a warm disk with reading its files."""
    bundle = work / "load"
    vectors, queries = clustered(items, dim, 10)
    leaves = max(1, round(2 * math.sqrt(items)))
    parameters = IndexParameters(
        backend="tree_ah", leaves=leaves, leaves_to_search=max(1, leaves // 50), soar=True
    )
    search.save(search.build(vectors, parameters), vectors, bundle)
    del vectors
    files = [path for path in bundle.rglob("*") if path.is_file()]
    ratios = []
    for _ in range(4):  # The first warms the disk's cache, and is left out.
        started = time.perf_counter()
        for path in files:
            path.read_bytes()
        reading = time.perf_counter() - started
        started = time.perf_counter()
        search.load(bundle).search(queries, 10)
        loading = time.perf_counter() - started
        ratios.append(loading / reading)
        print(f"\nload: {loading:.2f} s, reading the files: {reading:.2f} s", flush=True)
    return [
        Figure("load: time, x reading the files", float(np.median(ratios[1:])), 2.0, at_most=True)
    ]


def shards(items: int, work: Path, dim: int = 64) -> list[Figure]:
    """Measures the peak memory of the whole index step over a catalog that is built in shards.

    The step runs in a process of its own: catalog and Parquet in, a bundle with its manifest out.
    """
    inputs = work / "sharded"
    make_inputs(inputs, items, dim)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_build, args=(inputs, max(1, items // 5), sender))
    process.start()
    sender.close()
    seconds, peak, built, recall = receiver.recv()
    process.join()
    print(
        f"\nshards: {items:,} x {dim} in {built} shards in {seconds:.0f} s, peak {peak:.2f} GB, "
        f"recall@10 at least {recall:.4f}",
        flush=True,
    )
    return [
        Figure(f"shards: peak memory of {items:,} x {dim}, GB", peak, 6.0, at_most=True),
        Figure("shards: lower bound of recall@10", recall),
    ]


def make_inputs(folder: Path, items: int, dim: int) -> None:
    """Writes what the index step takes: a checked catalog, its embeddings and an encoder's card."""
    for name in ("checked", "encoder/saved_model", "embeddings/items"):
        (folder / name).mkdir(parents=True)
    vectors, queries = clustered(items, dim, 2000, out=folder / "vectors.npy")

    def item(number: int) -> Item:
        key = f"item-{number:08d}"
        content = hashlib.sha256(key.encode()).hexdigest()
        image = f"/data/images/{key}.jpg"
        return Item(key, image, content, "sofa", f"product-{number // 3:08d}", f"Sofa {number}")

    write_items(folder / "checked/items.jsonl", map(item, range(items)))
    taxonomy = "taxon_id,parent_id,name\nroot,,All\nsofa,root,Sofas\n"
    (folder / "checked/taxonomy.csv").write_text(taxonomy)
    digest = "e" * 64
    write_json(folder / "encoder/encoder.json", {"digest": digest, "embedding_dim": dim})
    (folder / "encoder/saved_model/saved_model.pb").write_bytes(b"model")
    write_json(folder / "embeddings/summary.json", {"encoder_digest": digest})
    step = 250_000
    for start in range(0, items, step):
        some = [item(number) for number in range(start, min(start + step, items))]
        table = to_table(
            [one.item_id for one in some],
            [one.content_hash for one in some],
            np.asarray(vectors[start : start + step]),
        )
        pq.write_table(table, folder / f"embeddings/items/part-{start // step:03d}.parquet")
    del queries
    (folder / "vectors.npy").unlink()


def _build(inputs: Path, shard_items: int, sender: Any) -> None:
    started = time.perf_counter()
    config = IndexConfig(
        backend="tree_ah", shard_items=shard_items, tuning_seconds=0.0, recall_target=0.95
    )
    manifest = build_index(
        checked=inputs / "checked",
        encoder=inputs / "encoder",
        embeddings=inputs / "embeddings",
        mode="scratch",
        lineage={},
        parameters={},
        config=config,
        bundle=inputs / "bundle",
        report=inputs / "report.html",
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    seconds = time.perf_counter() - started
    sender.send((seconds, peak, manifest.index["shards"], manifest.index["recall_lower"]))
