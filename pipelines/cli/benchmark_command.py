"""`lookalike benchmark`: how fast this bundle finds how much on this machine, beside its peers."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path

import click
import numpy as np

from components.contracts.bundle import read_manifest, verify
from components.contracts.errors import InputError
from components.contracts.files import read_json, write_atomically
from components.index import benchmark as measuring
from components.index import benchmark_page
from components.index.benchmark import EXACT, OURS, Report, Task
from components.index.config import IndexConfig
from components.index.peers import PEERS, installed
from components.index.queries import held_out_queries
from components.index.space import starts
from components.search.searcher import (
    MIN_QUANTISED_POINTS,
    VECTORS_FILE,
    Vectors,
    load_vectors,
)


@click.command()
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="A bundle's folder, such as REGISTRY/bundles/VERSION.",
)
@click.option(
    "--queries", default=1000, show_default=True, type=click.IntRange(10), help="How many to ask."
)
@click.option("--k", default=10, show_default=True, type=click.IntRange(1, 100), help="Neighbours.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=click.Choice(sorted(PEERS)),
    help="Measure only this one beside exact search; may be repeated. All installed by default.",
)
@click.option("--no-peers", is_flag=True, help="Measure the bundle beside exact search alone.")
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("benchmark.html"),
    show_default=True,
    help="File to write the plot into.",
)
@click.option("--seed", default=17, show_default=True, help="Seed of the queries.")
@click.option("--json", "as_json", is_flag=True, help="Print every measurement as JSON.")
def benchmark(
    bundle: Path,
    queries: int,
    k: int,
    peers: tuple[str, ...],
    no_peers: bool,
    page: Path,
    seed: int,
    as_json: bool,
) -> None:
    """Measure a bundle's index on this machine: recall against exact search, and time.

    With the extra `benchmark` installed, hnswlib, faiss and usearch are built over the same vectors
    and asked the same queries. Queries are the bundle's golden photos and made ones that lie where
    photos lie; no indexed item is asked as it is. One thread answers.

    Example: lookalike benchmark --bundle .lookalike/demo/registry/bundles/VERSION
    """
    manifest = read_manifest(bundle)
    problems = verify(bundle, manifest)
    if problems:
        raise InputError(f"{bundle}: the bundle is damaged: {problems[0]}")
    if peers and no_peers:
        raise click.UsageError("--peer and --no-peers exclude each other")
    there = installed()
    absent = [name for name in peers if name not in there]
    if absent:
        raise InputError(f"--peer {absent[0]}: not installed; install lookalike[benchmark]")
    asked = [] if no_peers else list(peers) or there
    missing = [] if no_peers or peers else [name for name in PEERS if name not in there]

    vectors = load_vectors(bundle)
    made = held_out_queries(_photos(bundle, vectors), vectors, count=queries, seed=seed)
    subject = (
        f"Bundle {manifest.version}: {len(vectors):,} items x {vectors.shape[1]} dimensions, "
        f"{manifest.index.get('backend')}; {len(made):,} queries."
    )
    reports: list[Report] = []
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / f"{name}.npy" for name in ("queries", "answers")]
        np.save(paths[0], made)
        np.save(paths[1], measuring.exact_answers(vectors, made, min(k, len(vectors))))
        task = partial(Task, vectors=bundle / VECTORS_FILE, queries=paths[0], answers=paths[1])
        tasks = [task(OURS, bundle=bundle), task(EXACT)]
        if manifest.index.get("backend") == "brute_force" and len(vectors) >= MIN_QUANTISED_POINTS:
            # What quantising would change, where the bundle searches exactly.
            config = IndexConfig(backend="ah", seed=seed)
            [scan] = starts(len(vectors), vectors.shape[1], config)
            tasks.append(task(OURS, parameters=scan, label="lookalike, quantised"))
        for one in [*tasks, *map(task, asked)]:
            click.echo(f"measuring {one.label or one.system}", err=True)
            reports.append(measuring.run(one))
    title = f"Benchmark of {manifest.version}"
    write_atomically(
        page,
        benchmark_page.render(reports, title=title, subject=subject, k=k, missing=missing),
    )
    if as_json:
        click.echo(json.dumps([report.to_json() for report in reports], indent=2))
        return
    own = reports[0].settings[0]
    click.echo(f"{subject} Queries a second on one thread:\n")
    click.echo(benchmark_page.text(reports, k=k))
    click.echo(
        f"\nAs it is served: recall@{k} {own.recall:.4f}, {own.cpu_ms:.3f} ms a query "
        f"({own.setting})."
    )
    if missing:
        click.echo(f"Not installed: {', '.join(missing)}; install lookalike[benchmark] to compare.")
    click.echo(f"Plot: {page}")


def _photos(bundle: Path, vectors: Vectors) -> Vectors:
    """Returns the golden photos' vectors; none where the golden queries are items themselves."""
    golden = np.load(bundle / "golden/queries.npy", allow_pickle=False)
    records = read_json(bundle / "golden/answers.json")["queries"]
    shoppers = [row for row, record in enumerate(records) if record["kind"] == "shopper"]
    return np.asarray(golden[shoppers] if shoppers else vectors[:0])
