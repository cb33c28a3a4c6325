"""The figures of the index, each beside its target; one query thread, k = 10.

    python tests/benchmarks/bench_index.py [peers|tuner|promise|load|shards|all] [--items N] ...
    python tests/benchmarks/bench_index.py peers --sets clustered

`peers`: frontiers of ours, hnswlib, faiss and usearch on homegoods embeddings, Fashion-MNIST pixels
and clustered vectors. `tuner`: the tuner's choice beside an exhaustive grid's. `promise`: how often
fresh queries keep the recall promised. `load`: loading beside reading the files. `shards`: the
peak memory of a build in shards. Times of queries are processor times, which other programs on the
machine disturb least; building is timed by the clock. Ends with 1 when a figure is not reached.
The whole takes most of an hour on 2 cores; `--items 100000 --sharded-items 500000` some minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import index_data
import numpy as np
from index_figures import Figure, load, promise, shards, tuner

from components.contracts.catalog import Item
from components.index import benchmark
from components.index.benchmark import EXACT, OURS, Report, Task
from components.index.config import IndexConfig
from components.index.peers import installed
from components.index.tune import tune
from components.search.searcher import IndexParameters

K = 10
RECALL = 0.95
PARTS = ("peers", "tuner", "promise", "load", "shards")
SETS = ("homegoods", "fashion-mnist", "clustered")


def peers(
    name: str, vectors: np.ndarray, queries: np.ndarray, *, tuning_seconds: float, work: Path
) -> list[Report]:
    """Measures every system on one set of vectors and prints the frontiers."""
    folder = work / name
    folder.mkdir()
    paths = [folder / f"{one}.npy" for one in ("vectors", "queries", "answers")]
    answers = benchmark.exact_answers(vectors, queries, K)
    for path, value in zip(paths, (vectors, queries, answers)):
        np.save(path, value)
    parameters = tuned_parameters(vectors, queries, tuning_seconds)
    say(f"\n{name}: {len(vectors):,} x {vectors.shape[1]}, {len(queries):,} queries")
    say(f"  ours: {parameters}")
    reports = []
    for system in (EXACT, OURS, *installed()):
        chosen = parameters if system == OURS else None
        report = benchmark.run(Task(system, *paths, parameters=chosen))
        reports.append(report)
        say(
            f"  {system}: built in {report.build_seconds:.1f} s ({report.build_cpu_seconds:.1f} s "
            f"of processor time), {report.memory_mb:.0f} MB"
        )
        for one in frontier(report):
            say(
                f"    recall {one.recall:.4f}  {1e3 / one.cpu_ms:>8,.0f}/s single  "
                f"{1e3 / one.batch_cpu_ms:>8,.0f}/s batched  {one.setting}"
            )
    return reports


def tuned_parameters(vectors: np.ndarray, queries: np.ndarray, seconds: float) -> IndexParameters:
    """Returns what the tuner chooses with other queries than those that it is compared on."""
    config = IndexConfig(recall_target=RECALL, tuning_seconds=seconds, brute_force_below=1000)
    items = [Item(f"i{n}", "", "", "", f"p{n}") for n in range(len(vectors))]
    return tune(items, vectors, queries[:0], config).searcher.parameters


def vectors_of(name: str, options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns a set's vectors and queries, None for one that this machine lacks."""
    if name == "clustered":
        return index_data.clustered(options.items, 128, 2000)
    if name == "fashion-mnist":
        return index_data.fashion_mnist() if index_data.FASHION.is_dir() else None
    if options.bundle:
        return index_data.bundle_vectors(options.bundle)
    return index_data.pixels(Path(__file__).parents[1] / "data/dev-mini/images")


def frontier(report: Report) -> Iterable[benchmark.Measured]:
    """Yields what no other setting of the system beats, by rising recall."""
    slowest = 0.0
    for one in sorted(report.settings, key=lambda one: (one.recall, -one.cpu_ms)):
        better = [other for other in report.settings if other.recall > one.recall]
        if one.recall >= 0.7 and all(other.cpu_ms > one.cpu_ms for other in better):
            slowest = max(slowest, one.cpu_ms)
            yield one


def peer_figures(name: str, reports: list[Report], *, gate: bool) -> list[Figure]:
    """Returns the ratios to the peers; only those of the clustered million are gated."""
    by_name = {report.system: report for report in reports}
    ours = by_name[OURS]
    figures = []

    def ratio(what: str, value: float | None, target: float, *, at_most: bool = False) -> None:
        figures.append(Figure(f"{name}: {what}", value, target if gate else None, at_most=at_most))

    for peer in ("hnswlib", "faiss", "usearch"):
        if peer in by_name:
            theirs, mine = by_name[peer].at_recall(RECALL), ours.at_recall(RECALL)
            value = theirs / mine if theirs and mine else None
            ratio(f"single-query throughput at recall {RECALL}, x {peer}'s", value, 1.0)
    if "hnswlib" in by_name:
        graph = by_name["hnswlib"]
        theirs, mine = graph.at_recall(RECALL, batched=True), ours.at_recall(RECALL, batched=True)
        value = theirs / mine if theirs and mine else None
        ratio(f"batched throughput at recall {RECALL}, x hnswlib's", value, 1.8)
        if ours.build_seconds:
            ratio(
                "build, times as fast as hnswlib's", graph.build_seconds / ours.build_seconds, 4.0
            )
        if graph.memory_mb:
            ratio("memory, x hnswlib's", ours.memory_mb / graph.memory_mb, 0.85, at_most=True)
    return figures


def say(text: str) -> None:
    """Prints at once: a long benchmark is watched."""
    print(text, flush=True)


def main() -> None:
    """Runs the parts asked for and prints every figure beside its target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", default="all", choices=[*PARTS, "all"])
    parser.add_argument("--items", type=int, default=1_000_000, help="clustered vectors")
    parser.add_argument("--sharded-items", type=int, default=5_000_000)
    parser.add_argument(
        "--sets", nargs="+", default=SETS, choices=SETS, help="whose peers are measured"
    )
    parser.add_argument("--tuner-items", type=int, default=30_000)
    parser.add_argument("--tuning-seconds", type=float, default=300.0)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--bundle", type=Path, help="whose embeddings to use; else pixels")
    parser.add_argument("--work", type=Path, help="where to keep files; else a temporary folder")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    parts = PARTS if options.part == "all" else (options.part,)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=options.work) as scratch:
        work = Path(scratch)
        if "peers" in parts:
            for name in options.sets:
                if (drawn := vectors_of(name, options)) is None:
                    say(f"\n{name}: not on this machine, left out")
                    continue
                reports = peers(name, *drawn, tuning_seconds=options.tuning_seconds, work=work)
                figures += peer_figures(name, reports, gate=name == "clustered")
                del drawn
        if "tuner" in parts:
            figures += tuner(options.tuner_items)
        if "promise" in parts:
            figures += promise(options.seeds)
        if "load" in parts:
            figures += load(options.items, work)
        if "shards" in parts:
            figures += shards(options.sharded_items, work)
    say("\nfigure                                                             value   target")
    for figure in figures:
        say(figure.line())
    if options.json:
        options.json.write_text(json.dumps([figure.to_json() for figure in figures], indent=2))
    sys.exit(any(figure.missed for figure in figures))


if __name__ == "__main__":
    main()
