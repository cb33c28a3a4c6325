"""50 raters at once against the rating application, with kill -9 in between; and 100,000 ratings.

    python tests/benchmarks/bench_rating_app.py [load|storage] [--raters 50] [--seconds 60]

`load` starts the real server, lets simulated raters work over HTTP with pictures, kills the server
without warning and starts it again, and then compares what was acknowledged with what is in the
registry. `storage` writes 100,000 answers and reads them back, on a local folder and on a fake
Google Cloud Storage.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from components.human_eval.rating_log import RatingLog, gather
from components.human_eval.rating_records import Record
from components.registry.object_store import open_store
from serving.rating.client import Rater, rate_until_done
from serving.rating.links import RATER, Pass, load_secrets, new_key

HERE = Path(__file__).resolve().parent
CHANNEL = "demo"
P95_TARGET_MS = 200.0
READ_TARGET_S = 5.0


def module(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


def photo(number: int) -> bytes:
    """Returns a JPEG of the size of a shop's photo, so that decoding and sending cost something."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((800, 800), Image.Resampling.BICUBIC).save(
        buffer, format="JPEG", quality=88
    )
    return buffer.getvalue()


class Server:
    """The real server as a process that can be killed."""

    def __init__(self, registry: str, key_file: Path, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._command = [
            sys.executable, "-m", "pipelines.cli.main", "rate", "--registry", registry,
            "--channel", CHANNEL, "--port", str(self.port), "--key-file", str(key_file),
        ]  # fmt: skip
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Starts it; returns the seconds until it answers."""
        started = time.perf_counter()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=0.2).close()
                return time.perf_counter() - started
            except OSError:
                if self.process.poll() is not None:
                    sys.exit(f"the server ended:\n{self._log.read_text()[-2000:]}")
                time.sleep(0.02)

    def kill(self) -> None:
        """Ends it without warning."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def load(raters: int, seconds: float, kills: int, think_s: float) -> dict[str, Any]:
    """Returns the figures of a run."""
    made_by = module(HERE.parent / "serving" / "rating" / "conftest.py", "rating_conftest")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        made = made_by.write_campaign(
            str(root / "registry"), queries=2000, golds=100, pictures=photo
        )
        key_file = root / "rating.key"
        key_file.write_text(new_key())
        keys = load_secrets(key_file)
        server = Server(made.registry, key_file, root / "server.log")
        server.start()
        acknowledged: dict[str, set[str]] = {}
        pages: list[tuple[float, str, float]] = []
        stop = time.monotonic() + seconds
        failures: list[str] = []

        def work(number: int) -> None:
            name = f"simulated:careful-{number:02d}"
            token = Pass(RATER, name, CHANNEL, "", time.time() + 3600).token(keys)
            rng = random.Random(number)
            mine = acknowledged.setdefault(name, set())

            def grade(form: str, pictures: list[bytes]) -> str:
                assert len(pictures) == 2
                assert all(picture[:2] == b"\xff\xd8" for picture in pictures)
                gold = golds.get(made_by.task_of(form))
                return str(gold) if gold is not None else rng.choice("0123")

            browser = Rater(
                f"http://127.0.0.1:{server.port}/join?key={token}",
                seen=lambda path, taken: pages.append((time.monotonic(), path, taken)),
            )
            try:
                time.sleep(rng.random() * think_s)
                while time.monotonic() < stop:
                    rate_until_done(
                        browser,
                        grade,
                        most=5,
                        think=lambda: think_s * rng.uniform(0.5, 1.5),
                        acknowledged=lambda form: mine.add(made_by.task_of(form)),
                    )
            except Exception as error:
                failures.append(repr(error))

        golds = {pair.task_id: pair.gold for pair in made.plan.golds}
        threads = [threading.Thread(target=work, args=(number,)) for number in range(raters)]
        for thread in threads:
            thread.start()
        restarts = []
        outages: list[tuple[float, float]] = []
        for _ in range(kills):
            time.sleep(seconds / (kills + 1))
            killed = time.monotonic()
            server.kill()
            restarts.append(server.start())
            # All raters come back in the same second; that second is told apart.
            outages.append((killed, time.monotonic() + 1.0))
        for thread in threads:
            thread.join()
        server.kill()
        found = gather(
            RatingLog(open_store(made.registry), made.prefix),
            campaign=made.campaign,
            tasks=[pair.task_id for pair in made.plan.pairs],
            allow_simulated=True,
        )
        kept = [(rating.rater_id, rating.task_id) for rating in found.valid]
        said = {(name, task) for name, tasks in acknowledged.items() for task in tasks}

        def times(start: str, *, after_kill: bool | None = None) -> dict[str, float]:
            return spread(
                [
                    taken
                    for when, path, taken in pages
                    if path.startswith(start)
                    and after_kill in (None, any(begin <= when <= end for begin, end in outages))
                ]
            )

        per_pair: dict[str, int] = {}
        for _, task in kept:
            if task not in golds:
                per_pair[task] = per_pair.get(task, 0) + 1
        return {
            "raters": raters,
            "seconds": seconds,
            "think_s": think_s,
            "kills": kills,
            "restart_s": [round(value, 2) for value in restarts],
            "acknowledged": len(said),
            "kept": len(kept),
            "lost": len(said - set(kept)),
            "twice": len(kept) - len(set(kept)),
            "set_aside": found.counts(),
            "pairs_with_more_ratings_than_needed": sum(n > 3 for n in per_pair.values()),
            "failures": failures,
            "page_ms": times("GET /rate"),
            "answer_ms": times("POST"),
            "picture_ms": times("GET /i/"),
            "page_ms_without_a_kill": times("GET /rate", after_kill=False),
            "answer_ms_without_a_kill": times("POST", after_kill=False),
            "page_ms_right_after_a_kill": times("GET /rate", after_kill=True),
            "answer_ms_right_after_a_kill": times("POST", after_kill=True),
            "requests_per_s": round(len(pages) / seconds, 1),
        }


def spread(seconds: list[float]) -> dict[str, float]:
    values = sorted(1000 * value for value in seconds)
    if not values:
        return {}
    return {
        "median": round(statistics.median(values), 1),
        "p95": round(values[int(0.95 * (len(values) - 1))], 1),
        "p99": round(values[int(0.99 * (len(values) - 1))], 1),
        "max": round(values[-1], 1),
        "count": len(values),
    }


def storage(ratings: int) -> list[dict[str, Any]]:
    """Returns the figures on both stores."""
    fake = module(HERE / "fake_gcs.py", "fake_gcs")
    figures = []
    with tempfile.TemporaryDirectory() as scratch:
        figures.append(_read_back(f"{scratch}/registry", ratings))
    with fake.fake_gcs_server() as address:
        fake.make_bucket(address, "lookalike-bench")
        os.environ["STORAGE_EMULATOR_HOST"] = address
        figures.append(_read_back("gs://lookalike-bench/registry", ratings))
    return figures


def _read_back(uri: str, ratings: int) -> dict[str, Any]:
    at = "2026-11-22T12:00:00.000+00:00"
    tasks, singles = [f"{number:016x}" for number in range(ratings // 10)], 900
    records = [
        Record(tasks[number // 10], f"rater-{number % 10}", number % 4, 3.0, at, "c", "web")
        for number in range(ratings)
    ]
    log = RatingLog(open_store(uri), "campaigns/demo/c/")
    started = time.perf_counter()
    log.append_many(records[:-singles])
    for record in records[-singles:]:
        log.append(record)
    written = time.perf_counter() - started
    started = time.perf_counter()
    found = gather(RatingLog(open_store(uri), "campaigns/demo/c/"), campaign="c", tasks=tasks)
    read = time.perf_counter() - started
    assert len(found.valid) == ratings
    started = time.perf_counter()
    moved = log.compact(least=1)
    compacted = time.perf_counter() - started
    return {
        "store": uri.partition(":")[0] if uri.startswith("gs:") else "local",
        "ratings": ratings,
        "of_them_single": singles,
        "written_s": round(written, 2),
        "read_back_s": round(read, 2),
        "target_s": READ_TARGET_S,
        "compacted": moved,
        "compacted_s": round(compacted, 2),
    }


def main() -> int:
    """Prints the figures as JSON; returns 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("load", "storage", "all"), default="all")
    parser.add_argument("--raters", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kills", type=int, default=1)
    parser.add_argument("--think", type=float, default=3.0, help="mean seconds a pair is looked at")
    parser.add_argument("--ratings", type=int, default=100_000)
    given = parser.parse_args()
    good = True
    if given.what in ("load", "all"):
        found = load(given.raters, given.seconds, given.kills, given.think)
        print(json.dumps(found, indent=1))
        right = not found["lost"] and not found["twice"] and not found["failures"]
        p95 = max(found["page_ms"]["p95"], found["answer_ms"]["p95"])
        print(f"every acknowledged rating there, none twice: {'yes' if right else 'NO'}")
        print(f"p95 of a page: {p95} ms, target < {P95_TARGET_MS:g}: {p95 / P95_TARGET_MS:.2f}")
        good = right and p95 < P95_TARGET_MS
    if given.what in ("storage", "all"):
        for entry in storage(given.ratings):
            print(json.dumps(entry))
            good = good and entry["read_back_s"] < READ_TARGET_S
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
