"""A table of answers made with the bundle, against a search for each item question.

`make bench-neighbour-table`. How the table is made and read: `components/search/neighbours.py`.
Both ways are measured alone, within the process with everything around them, and served over a
socket to wrk, in turns, so that ratios hold; and all answers of both are compared. A table is worth
its cost from 1.3 times the served requests on; docs/serving.md has the decision.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bench_fast_path
import numpy as np
import serving_bundle
import serving_load
import uvicorn

from components.search import neighbours
from components.search.neighbours import PLAIN, NeighbourTable
from components.search.query import Found, Limits
from serving import log
from serving.app import create_app
from serving.engine import Engine, LoadedBundle
from serving.settings import Settings

WORTH_IT = 1.3


def _opened(directory: Path, tables: Path | None) -> LoadedBundle:
    bundle = bench_fast_path.load(directory)
    if tables is not None:
        bundle.neighbours = NeighbourTable.load(tables, len(bundle.items))
    return bundle


def _app(bundle: LoadedBundle) -> Any:
    engine = Engine()
    engine.swap(bundle)
    return create_app(engine, Settings(bundle=Path("unused")))


def _alone(find: Callable[[Limits], Found | None], asked: list[Limits]) -> float:
    """Returns the seconds of finding one answer."""
    started = time.perf_counter()
    for limits in asked:
        find(limits)
    return (time.perf_counter() - started) / len(asked)


def _compare(bundle: LoadedBundle) -> tuple[float, float, float]:
    """Compares every row with a search.

    Returns:
        The share of the rows with the same items in the same order, the largest difference of a
        score, and the share of items without a row.
    """
    same, furthest, missing = 0, 0.0, 0
    for position in range(len(bundle.items)):
        limits = bundle.limits(PLAIN, position)
        known, found = bundle.known(limits), bundle.find(bundle.vector(position), limits)
        if known is None:
            missing += 1
            continue
        same += known.positions == found.positions
        furthest = max(furthest, float(np.abs(np.subtract(known.scores, found.scores)).max()))
    rows = len(bundle.items) - missing
    return same / max(1, rows), furthest, missing / len(bundle.items)


def _serve(directory: Path, tables: Path | None, ready: Path) -> int:
    """Serves until it is killed; the child's side."""
    log.logger.setLevel("ERROR")
    app = _app(_opened(directory, tables))
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, loop="uvloop", http="httptools", log_config=None,
        access_log=False,
    )  # fmt: skip
    server = uvicorn.Server(config)

    async def run() -> None:
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        ready.with_suffix(".part").write_text(f"http://127.0.0.1:{port}")
        ready.with_suffix(".part").rename(ready)
        await task

    asyncio.run(run())
    return 0


class _Served:
    """A server process with or without the table."""

    def __init__(self, directory: Path, tables: Path | None, folder: Path) -> None:
        folder.mkdir()
        ready = folder / "ready"
        command = [sys.executable, __file__, "--serve", str(directory), "--ready", str(ready)]
        if tables is not None:
            command += ["--tables", str(tables)]
        with (folder / "log").open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        until = time.monotonic() + 120
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit((folder / "log").read_text()[-2000:])
            time.sleep(0.05)
        self.url = ready.read_text()
        self.folder = folder


def measure(directory: Path, scratch: Path, *, seconds: float, rounds: int) -> dict[str, Any]:
    """Returns the figures."""
    plain = bench_fast_path.load(directory)
    items = len(plain.items)
    (scratch / "index").mkdir()
    started = time.perf_counter()
    neighbours.write(plain.searcher, plain.vectors, plain.items.products, scratch, most_items=items)
    build_seconds = time.perf_counter() - started
    bundle = _opened(directory, scratch)
    same, furthest, missing = _compare(bundle)
    rows = np.random.default_rng(5).integers(0, items, 2000).tolist()
    asked = [bundle.limits(PLAIN, row) for row in rows]
    ways: dict[str, Callable[[Limits], Found | None]] = {
        "search": lambda limits: plain.find(plain.vector(limits.own), limits),
        "table": bundle.known,
    }
    alone = dict.fromkeys(ways, float("inf"))
    for _ in range(10):
        for name, find in ways.items():
            alone[name] = min(alone[name], _alone(find, asked))
    apps = {name: _app(_opened(directory, scratch if name == "table" else None)) for name in ways}
    within = asyncio.run(bench_fast_path.race(apps, items=items, rounds=15, requests=1000))
    for app in apps.values():
        app.state.console.close()
        app.state.service.close()
    rates: dict[str, list[float]] = {name: [] for name in ways}
    servers: dict[str, _Served] = {}
    try:
        for name in ways:
            tables = scratch if name == "table" else None
            servers[name] = _Served(directory, tables, scratch / name)
        for number in range(rounds + 1):
            for name, server in servers.items():
                load = serving_load.items(
                    server.url, server.folder, count=items, connections=8, seconds=seconds
                ).result()
                if load.failed or load.socket_errors:
                    raise SystemExit(f"{load.failed + load.socket_errors} requests failed")
                if number:  # The first round only warms.
                    rates[name].append(load.rate)
    finally:
        for server in servers.values():
            server.process.terminate()
            server.process.wait(30)
    best = {name: max(found) for name, found in rates.items()}
    return {
        "items": items,
        "dim": bundle.manifest.embedding_dim,
        "alone_us": {name: 1e6 * value for name, value in alone.items()},
        "within_us": {name: 1e6 * value for name, value in within.items()},
        "served_per_second": best,
        "gain_alone": alone["search"] / alone["table"],
        "gain_within": within["search"] / within["table"],
        "gain_served": best["table"] / best["search"],
        "table_bytes": (scratch / neighbours.NEIGHBOURS_FILE).stat().st_size,
        "build_seconds": build_seconds,
        "rows_as_searched": same,
        "furthest_score": furthest,
        "items_without_row": missing,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundles", type=Path, help="folder that keeps the bundle between runs")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    for name in ("--serve", "--tables", "--ready"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    log.logger.setLevel("ERROR")
    if options.serve:
        return _serve(options.serve, options.tables, options.ready)
    with tempfile.TemporaryDirectory(prefix="lookalike-neighbours-") as name:
        scratch = Path(name)
        (directory,) = serving_bundle.make(
            options.bundles or scratch, versions=1, items=options.items, dim=options.dim
        )
        found = measure(directory, scratch, seconds=options.seconds, rounds=options.rounds)
    print(json.dumps(found, indent=1))
    gain = found["gain_served"]
    verdict = "worth it" if gain >= WORTH_IT else "not worth it"
    print(f"served with the table / with a search: {gain:.2f} ({verdict}; from {WORTH_IT} on)")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
