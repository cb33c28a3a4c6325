"""How long it takes to judge a large campaign from its files, and how much memory.

    python tests/benchmarks/human_eval_judging.py [--ratings 50000] [--pairs 5000] [--raters 50]

The campaign is written into a scratch registry; a process of its own opens it, reads the ratings
from the log, judges raters and pairs and decides. Time and peak memory are that process's, the
interpreter and numpy included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from components.contracts.files import sha256_bytes
from components.human_eval.campaign import (
    ANSWERS_FILE,
    CAMPAIGN_FILE,
    HISTORY_FILE,
    PLAN_FILE,
    TASKS_FILE,
    Record,
    campaign_id,
)
from components.human_eval.config import GateConfig
from components.human_eval.pairs import Binding
from components.human_eval.plan import CANDIDATE, WHOLE, Draw, Pair, Plan
from components.human_eval.rating_log import RatingLog
from components.human_eval.rating_records import Record as Answer
from components.human_eval.rating_records import timestamp
from components.registry.local_store import LocalStore

START = datetime(2026, 11, 22, tzinfo=UTC)
GOLDS = 200
CAREFUL = np.array(
    [[0.93, 0.06, 0.01, 0.0], [0.09, 0.84, 0.06, 0.01], [0.01, 0.05, 0.86, 0.08],
     [0.0, 0.01, 0.07, 0.92]]
)  # fmt: skip

CHILD = """
import json, resource, sys, time
start = time.monotonic()
from datetime import datetime
from pathlib import Path
from components.human_eval.campaign import open_campaign
from components.human_eval.judge import look_at
from components.registry.local_store import LocalStore
ready = time.monotonic()
campaign = open_campaign(LocalStore(Path(sys.argv[1])), "bench", sys.argv[2])
found = look_at(campaign, now=datetime.fromisoformat(sys.argv[3]))
done = time.monotonic()
print(json.dumps({
    "status": found.verdict.status, "ratings": len(found.ratings), "seconds": done - ready,
    "seconds_with_start": done - start, "set_aside": dict(found.set_aside),
    "cpu_seconds": time.process_time(),
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def write_campaign(root: Path, *, ratings: int, pairs: int, raters: int) -> str:
    """Writes a rated campaign; returns its id."""
    rng = np.random.default_rng(1)
    config = GateConfig(ratings_per_pair=3)
    departments = [f"d{n}" for n in range(8)]
    live = [
        Pair(f"t{n:05d}", f"q{n // 2:05d}", f"i{n:05d}", f"images/q{n // 2:030d}.jpg",
             f"images/i{n:030d}.jpg", departments[n // 2 % 8], CANDIDATE)
        for n in range(pairs - GOLDS)
    ]  # fmt: skip
    golds = [
        Pair(f"g{n:05d}", f"q{n:05d}", f"g{n:05d}", f"images/q{n:030d}.jpg",
             f"images/g{n:030d}.jpg", departments[n % 8], CANDIDATE, 3 * (n % 2), "view")
        for n in range(GOLDS)
    ]  # fmt: skip
    draws = tuple(
        Draw(f"q{n:05d}", departments[n % 8], WHOLE,
             (live[2 * n].task_id, live[2 * n + 1].task_id), (0, 1))
        for n in range(len(live) // 2)
    )  # fmt: skip
    plan = Plan(
        "v1", "1" * 64, "", "", "1", config.digest, 1, "traffic", None, tuple(departments),
        dict.fromkeys(departments, 1 / 8), dict.fromkeys(departments, 100), (*live, *golds), draws,
        (),
    )  # fmt: skip
    files = {
        PLAN_FILE: json.dumps(plan.to_json()).encode(),
        TASKS_FILE: "".join(f"{json.dumps(r)}\n" for r in plan.rater_view()).encode(),
        HISTORY_FILE: b"",
        ANSWERS_FILE: b"",
    }
    binding = Binding("v1", "1" * 64, "", "")
    name = campaign_id(binding, "1", sha256_bytes(files[PLAN_FILE]))
    store = LocalStore(root)
    prefix = f"campaigns/bench/{name}/"
    for key, data in files.items():
        store.write(prefix + key, data)
    record = Record(START, binding, "web", asdict(config), config.digest,
                    {key: sha256_bytes(data) for key, data in files.items()})  # fmt: skip
    store.write(prefix + CAMPAIGN_FILE, record.to_bytes())
    each = ratings // pairs
    everyone = [*live, *golds]
    truth = np.where(rng.random(len(live)) < 0.86, rng.integers(2, 4, len(live)),
                     rng.integers(0, 2, len(live)))  # fmt: skip
    grades = [*truth.tolist(), *(gold.gold for gold in golds)]
    shares = np.cumsum(CAREFUL, axis=1)
    answers = []
    for pair, grade in zip(everyone, grades, strict=True):
        for rater in rng.permutation(raters)[:each]:
            given = int((rng.random() > shares[grade, :-1]).sum())
            at = START + timedelta(seconds=len(answers))
            answers.append(Answer(pair.task_id, f"rater-{rater:02d}", given, 3.0, timestamp(at),
                                  name, "web"))  # fmt: skip
    RatingLog(store, prefix).append_many(answers)
    return name


def measure(*, ratings: int = 50_000, pairs: int = 5_000, raters: int = 50) -> dict[str, float]:
    """Returns what judging took: seconds, peak MB, ratings and status."""
    with tempfile.TemporaryDirectory() as scratch:
        name = write_campaign(Path(scratch), ratings=ratings, pairs=pairs, raters=raters)
        now = timestamp(START + timedelta(hours=20))
        done = subprocess.run(
            [sys.executable, "-c", CHILD, scratch, name, now], check=True, capture_output=True,
            text=True,
        )  # fmt: skip
    return json.loads(done.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", type=int, default=50_000)
    parser.add_argument("--pairs", type=int, default=5_000)
    parser.add_argument("--raters", type=int, default=50)
    print(json.dumps(measure(**vars(parser.parse_args())), indent=2))
