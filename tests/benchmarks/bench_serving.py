"""Measures serving, each ratio beside what is asked of it; `make bench-serving`.

All in one run on one machine, so that ratios hold. The parts:

- `items`: one worker against a bare loop over the same searcher, and against pgvector;
- `photos`: image search against the bare encoder with the same batch size;
- `swaps`: promotions and rollbacks under steady load at half of capacity;
- `soak`: memory over minutes of load with swaps;
- `start`: from a warm disk cache to the first answer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import serving_bundle
import serving_load
from serving_load import ROOT, Server

from components.contracts.images import admit
from components.registry.registry import Registry
from components.search import searcher as search
from components.search.scann_backend import ScannSearcher
from components.search.searcher import ExactSearcher

K = 10
CHANNEL = "bench"
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Line:
    """One figure.

    Attributes:
        name: What was measured.
        value: The figure.
        target: What it is compared with; None for a figure that only explains.
        most: Whether the target is the most that is allowed, and not the least.
        note: What it was made of.
    """

    name: str
    value: float
    target: float | None = None
    most: bool = False
    note: str = ""

    @property
    def good(self) -> bool:
        """Whether it reaches its target."""
        if self.target is None:
            return True
        return self.value <= self.target if self.most else self.value >= self.target


@dataclass(frozen=True)
class Setting:
    """What the parts share.

    Attributes:
        folder: For everything that is written.
        bundles: The bundles' directories.
        items: How many items each holds.
        seconds: Of each measured load.
        requests: Fewest requests while bundles are swapped.
        moves: Promotions and rollbacks while they are counted.
        soak_seconds: Of the soak.
        workers: Server processes while bundles are swapped.
        postgres: Whether to compare with PostgreSQL.
    """

    folder: Path
    bundles: list[Path]
    items: int
    seconds: float
    requests: int
    moves: int
    soak_seconds: float
    workers: int
    postgres: bool

    def server(self, *arguments: str) -> Server:
        """Starts a server."""
        return Server(self.folder / "server", *arguments)

    def load(self, server: Server, **options: Any) -> serving_load.Wrk:
        """Starts item queries."""
        return serving_load.items(server.url, self.folder, count=self.items, **options)


def bare_rate(bundle: Path, seconds: float) -> float:
    """Returns queries per second of a bare loop, one query at a time, one thread."""
    searcher = search.load(bundle)
    assert isinstance(searcher, ScannSearcher)
    native = searcher._native
    vectors = search.load_vectors(bundle)
    rows = np.random.default_rng(1).integers(0, len(vectors), 4096)
    queries = [np.ascontiguousarray(vectors[row]) for row in rows]
    parameters = searcher.parameters
    done, stop = 0, time.perf_counter() + seconds
    started = time.perf_counter()
    while time.perf_counter() < stop:
        for query in queries[:256]:
            native.search(query, K, parameters.reorder, parameters.leaves_to_search)
        done += 256
    return done / (time.perf_counter() - started)


def recall(bundle: Path, rows: list[int]) -> tuple[float, list[set[str]]]:
    """Returns the searcher's recall@11 (an item and its ten neighbours), and the exact answers."""
    searcher = search.load(bundle)
    vectors = search.load_vectors(bundle)
    queries = np.ascontiguousarray(vectors[rows])
    exact, _ = ExactSearcher(vectors).search(queries, K + 1)
    found, _ = searcher.search(queries, K + 1)
    shares = [
        len(set(a) & set(b)) / (K + 1) for a, b in zip(found.tolist(), exact.tolist(), strict=True)
    ]
    best = [{serving_bundle.item_id(number) for number in row} for row in exact.tolist()]
    return float(np.mean(shares)), best


def measure_items(setting: Setting) -> Iterator[Line]:
    """One worker against a bare loop and against pgvector."""
    bundle = setting.bundles[0]
    rows = np.random.default_rng(2).integers(0, setting.items, 200).tolist()
    reached, best = recall(bundle, rows)
    server = setting.server("--bundle", str(bundle))
    try:
        setting.load(server, connections=8, seconds=3).result()  # Warm.
        loads = {
            count: setting.load(server, connections=count, seconds=setting.seconds).result()
            for count in (1, 8, 32)
        }
    finally:
        server.stop()
    bare = bare_rate(bundle, setting.seconds)
    ours = max(loads.values(), key=lambda load: load.rate)
    leaves = search.load(bundle).parameters.leaves_to_search
    note = f"recall@{K + 1} {reached:.4f}, {leaves} leaves: the fewest that reach "
    yield Line("bare ScaNN loop, queries/s", bare, note=f"{note}{serving_bundle.RECALL}")
    for count, load in loads.items():
        yield Line(
            f"served, {count} connections, requests/s",
            load.rate,
            note=f"p50 {1e3 * load.p50:.2f} ms, p99 {1e3 * load.p99:.2f} ms, "
            f"{load.failed + load.socket_errors} failed",
        )
    yield Line("served / bare loop", ours.rate / bare, 0.25)
    if not setting.postgres:
        return
    from serving_postgres import database

    vectors = np.asarray(search.load_vectors(bundle))
    with tempfile.TemporaryDirectory(prefix="lookalike-pg-") as folder:
        Path(folder).chmod(0o777)
        with database(Path(folder), vectors) as peer:
            ef_search, its_recall = peer.ef_search_for(reached, rows, best, K + 1)
            seconds = setting.seconds
            rates = {
                count: peer.bench(ef_search=ef_search, k=K + 1, connections=count, seconds=seconds)
                for count in (1, 8)
            }
            note = (
                f"ef_search {ef_search}, recall {its_recall:.4f}, "
                f"built in {peer.build_seconds:.0f} s"
            )
    for count, (rate, p99) in rates.items():
        ours = loads[count]
        yield Line(
            f"pgvector, {count} connections, queries/s",
            rate,
            note=f"{note}, p99 {1e3 * p99:.2f} ms",
        )
        yield Line(f"served / pgvector, {count} connections", ours.rate / rate, 1.0)
        yield Line(f"p99 served / pgvector, {count} connections", ours.p99 / p99, 1.0, most=True)


def bare_encoder(bundle: str, batch: int, seconds: float) -> float:
    """Returns images per second of the encoder alone; called in a process of its own."""
    from serving.encoder import Encoder

    encode = Encoder(Path(bundle), dim=int(search.load_vectors(Path(bundle)).shape[1]))
    images = [admit(data) for data in serving_bundle.photos()]
    batches = [(images * 2)[start : start + batch] for start in range(0, len(images), batch)]
    for one in batches:
        encode(one)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for one in batches:
            encode(one)
            done += len(one)
    return done / (time.perf_counter() - started)


def measure_photos(setting: Setting) -> Iterator[Line]:
    """Image search against the bare encoder."""
    bundle = setting.bundles[0]
    images = serving_bundle.photos()
    for batch in (8, 32):
        server = setting.server("--bundle", str(bundle), "--set", f"encoder_batch={batch}")
        try:
            options = {"connections": 2 * batch, "seconds": setting.seconds}
            serving_load.photos(server.url, setting.folder, images, **options)  # Warm.
            load = serving_load.photos(server.url, setting.folder, images, **options)
            sizes = _batch_sizes(server)
        finally:
            server.stop()
        code = (
            "import sys, time; sys.path[:0] = sys.argv[1:3]\n"
            "from bench_serving import bare_encoder\n"
            "print(bare_encoder(sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))"
        )
        output = subprocess.run(
            [
                *(sys.executable, "-c", code, str(ROOT), str(Path(__file__).parent)),
                *(str(bundle), str(batch), str(setting.seconds)),
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        bare = float(output.splitlines()[-1])
        yield Line(f"bare encoder, batch {batch}, images/s", bare)
        yield Line(
            f"image search, batch up to {batch}, images/s",
            load.rate,
            note=f"{sizes}, p99 {1e3 * load.p99:.0f} ms, {load.failed + load.socket_errors} failed",
        )
        yield Line(f"image search / bare encoder, batch {batch}", load.rate / bare, 0.8)


def _batch_sizes(server: Server) -> str:
    """Returns the mean size of the encoder's batches, from the server's own metrics."""
    import httpx

    answer = httpx.get(
        f"{server.url}/metrics", headers={"Authorization": f"Bearer {serving_load.TOKEN}"}
    )
    figures = dict(
        line.rsplit(" ", 1) for line in answer.text.splitlines() if "encoder_batch" in line
    )
    total = sum(float(value) for name, value in figures.items() if "images_sum" in name)
    count = sum(float(value) for name, value in figures.items() if "images_count" in name)
    return f"mean batch {total / count:.1f}" if count else "batches unknown"


class Channel:
    """A registry whose channel is moved back and forth between the bundles."""

    def __init__(self, setting: Setting) -> None:
        """Publishes the bundles and makes the first one live."""
        self.registry = Registry.open(str(setting.folder / "registry"))
        self.versions = [self.registry.publish_bundle(bundle) for bundle in setting.bundles]
        self.registry.move(CHANNEL, to=self.versions[0], who="bench", why="first")
        self.number = 0

    def next_move(self) -> tuple[str, str]:
        """Promotes another version, or rolls back to the first; returns the kind and the version.

        The others take turns: the one that is promoted was unloaded before, so that every
        promotion loads a bundle, and every rollback finds one in memory.
        """
        live = self.registry.channel(CHANNEL).live
        if live != self.versions[0]:
            self.registry.rollback(CHANNEL, who="bench", why="back", to=self.versions[0])
            self.registry.release(CHANNEL, live, who="bench", why="again")
            return "rollback", self.versions[0]
        self.number += 1
        others = self.versions[1:]
        version = others[self.number % len(others)]
        self.registry.move(CHANNEL, to=version, who="bench", why="forth")
        return "promotion", version


def _until(server: Server, version: str, workers: int, seconds: float = 120.0) -> float:
    """Waits until every worker answers with a version; returns how long that took, in seconds."""
    started = time.monotonic()
    good: set[int] = set()
    seen: dict[int, str] = {}
    while time.monotonic() - started < seconds:
        seen = server.workers()
        # Only workers in a row: one that rests meanwhile answers nobody any more.
        good = good | seen.keys() if set(seen.values()) == {version} else set()
        if len(good) >= workers:
            return time.monotonic() - started
        # Asking without a pause takes most of a core away from what is measured.
        time.sleep(_POLL_SECONDS)
    raise SystemExit(f"after {seconds} s the workers answer with {seen}, not with {version}")


def measure_swaps(setting: Setting) -> Iterator[Line]:
    """Promotions and rollbacks under steady load at half of capacity."""
    channel = Channel(setting)
    server = setting.server(
        *("--registry", channel.registry.uri, "--channel", CHANNEL),
        *("--cache", str(setting.folder / "cache"), "--workers", str(setting.workers), "--spare"),
    )
    try:
        _until(server, channel.versions[0], setting.workers)
        full = setting.load(server, connections=32, seconds=setting.seconds, check=True).result()
        rate = full.rate / 2
        seconds = max(setting.seconds, 1.1 * setting.requests / rate)
        options = {"connections": 32, "rate": rate, "check": True}
        calm = setting.load(server, seconds=seconds / 2, **options).result()
        load = setting.load(server, seconds=seconds, **options)
        effective: dict[str, list[float]] = {"promotion": [], "rollback": []}
        began = time.monotonic()
        moved = 0
        while load.running and moved < setting.moves:
            # Spread over the whole time; a slow machine moves on as soon as it can.
            time.sleep(max(0.0, began + moved * 0.9 * seconds / setting.moves - time.monotonic()))
            kind, version = channel.next_move()
            effective[kind].append(_until(server, version, setting.workers))
            moved += 1
        during = load.result()
        # Moves that did not fit in one load go on under another.
        while moved < setting.moves:
            load = setting.load(server, seconds=60, **options)
            while load.running and moved < setting.moves:
                kind, version = channel.next_move()
                effective[kind].append(_until(server, version, setting.workers))
                moved += 1
            during = _joined(during, load.result())
    finally:
        server.stop()
    failed = during.failed + during.socket_errors
    versions = len(set(during.versions.split()))
    yield from [
        Line("capacity, requests/s", full.rate, note=f"{setting.workers} workers"),
        Line("moves under load", moved, setting.moves),
        Line(
            "requests under moves", during.requests, setting.requests, note=f"{versions} versions"
        ),
        Line(
            "failed requests",
            failed,
            0,
            most=True,
            note=f"{during.failed} refused, {during.socket_errors} cut off",
        ),
        Line("answers mixing versions", during.mixed, 0, most=True),
        Line(
            "p99 with swaps / without",
            during.p99 / calm.p99,
            1.5,
            most=True,
            note=f"{1e3 * during.p99:.1f} ms and {1e3 * calm.p99:.1f} ms at {calm.rate:.0f}/s",
        ),
        Line(
            "slowest rollback on all workers, s",
            max(effective["rollback"]),
            3.0,
            most=True,
            note=f"slowest promotion {max(effective['promotion']):.1f} s",
        ),
    ]


def _joined(one: serving_load.Load, other: serving_load.Load) -> serving_load.Load:
    """Returns two loads as one; the worse of their times."""
    return serving_load.Load(
        requests=one.requests + other.requests,
        seconds=one.seconds + other.seconds,
        failed=one.failed + other.failed,
        mixed=one.mixed + other.mixed,
        versions=one.versions + other.versions,
        socket_errors=one.socket_errors + other.socket_errors,
        p50=max(one.p50, other.p50),
        p99=max(one.p99, other.p99),
        max=max(one.max, other.max),
    )


def measure_soak(setting: Setting) -> Iterator[Line]:
    """Memory over minutes of load with swaps."""
    channel = Channel(setting)
    server = setting.server(
        *("--registry", channel.registry.uri, "--channel", CHANNEL),
        *("--cache", str(setting.folder / "cache"), "--spare"),
    )
    try:
        _until(server, channel.versions[0], 1)
        load = setting.load(
            server, connections=8, seconds=setting.soak_seconds + 60, rate=500.0, check=True
        )
        _, version = channel.next_move()
        _until(server, version, 1)
        # By then both processes have loaded it in their turns, and its pages have been touched.
        time.sleep(30)
        first = server.memory()
        highest, swaps, stop = first, 1, time.monotonic() + setting.soak_seconds
        while time.monotonic() < stop:
            _, version = channel.next_move()
            _until(server, version, 1)
            swaps += 1
            time.sleep(2)
            highest = max(highest, server.memory())
        last = server.memory()
        during = load.stop()
    finally:
        server.stop()
    yield from [
        Line(
            "memory at the end / after the first swap",
            last / first,
            1.1,
            most=True,
            note=f"{first / 2**20:.0f} to {last / 2**20:.0f} MiB, highest {highest / 2**20:.0f}, "
            f"{swaps} swaps in {setting.soak_seconds:.0f} s",
        ),
        Line("answers mixing versions in the soak", during.mixed, 0, most=True),
    ]


def measure_start(setting: Setting) -> Iterator[Line]:
    """From a warm disk cache to ready."""
    channel = Channel(setting)
    arguments = [
        *("--registry", channel.registry.uri, "--channel", CHANNEL),
        *("--cache", str(setting.folder / "cache")),
    ]
    setting.server(*arguments).stop()
    seconds, imports, loads = [], [], []
    for _ in range(3):
        server = setting.server(*arguments)
        seconds.append(server.start_seconds)
        server.stop()
        imports.append(_timed_child("import tensorflow"))
        loads.append(_timed_child(_LOAD_INDEX, str(ROOT), str(setting.bundles[0])))
    allowed = 2 * float(np.median(imports)) + float(np.median(loads))
    yield from [
        Line(
            "cold start / (2 x TensorFlow's import + ScaNN's load)",
            float(np.median(seconds)) / allowed,
            1.0,
            most=True,
            note=f"{np.median(seconds):.2f} s, import {np.median(imports):.2f} s, "
            f"load {np.median(loads):.2f} s",
        )
    ]


_LOAD_INDEX = """
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from components.search import scann_backend, searcher
scann_backend._import_scann()
started = time.perf_counter()
searcher.load(Path(sys.argv[2]))
"""


def _timed_child(code: str, *arguments: str) -> float:
    """Returns how long a piece of Python takes in a fresh process, after Python's own start."""
    whole = (
        f"import sys, time\nstarted = time.perf_counter()\n{code}\n"
        "print(time.perf_counter() - started)"
    )
    output = subprocess.run(
        [sys.executable, "-c", whole, *arguments], capture_output=True, text=True, check=True
    ).stdout
    return float(output.splitlines()[-1])


PARTS: dict[str, Callable[[Setting], Iterator[Line]]] = {
    "items": measure_items,
    "photos": measure_photos,
    "swaps": measure_swaps,
    "soak": measure_soak,
    "start": measure_start,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="of %(default)s")
    parser.add_argument("--bundles", type=Path, help="folder that keeps the bundles between runs")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--requests", type=int, default=100_000, help="fewest while swapping")
    parser.add_argument("--moves", type=int, default=20)
    parser.add_argument("--soak-seconds", type=float, default=600.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-postgres", dest="postgres", action="store_false")
    parser.add_argument(
        "--other-encoders",
        action="store_true",
        help="every bundle has an encoder of its own, as after training; else they share one, as "
        "in the daily runs that reuse the live encoder",
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(arguments)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="lookalike-serving-") as scratch:
        kept = options.bundles or Path(scratch) / "bundles"
        bundles = serving_bundle.make(
            kept,
            versions=3,
            items=options.items,
            dim=options.dim,
            other_encoders=options.other_encoders,
        )
        for part in options.parts.split(","):
            folder = Path(scratch) / part
            folder.mkdir()
            setting = Setting(
                folder=folder,
                bundles=bundles,
                items=options.items,
                seconds=options.seconds,
                requests=options.requests,
                moves=options.moves,
                soak_seconds=options.soak_seconds,
                workers=options.workers,
                postgres=options.postgres,
            )
            for line in PARTS[part](setting):
                lines.append(line)
                print(_text(line), flush=True)
    if options.json:
        options.json.write_text(
            json.dumps([{**asdict(line), "good": line.good} for line in lines], indent=1)
        )
    missed = [line.name for line in lines if not line.good]
    print(f"missed: {', '.join(missed)}" if missed else "every target is reached")
    return 1 if missed else 0


def _text(line: Line) -> str:
    target = ""
    if line.target is not None:
        sign = "<=" if line.most else ">="
        target = f"{sign} {line.target:g} {'ok' if line.good else 'MISSED'}"
    return f"{line.name:52} {line.value:12,.3f}  {target:14} {line.note}"


if __name__ == "__main__":
    sys.exit(main())
