"""Times a large catalog's tables, without its images: rows checked, votes aggregated.

Prints one JSON object: what it took, beside the targets for 1,000,000 rows (2 minutes, 4 GB).
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from components.catalog.config import CatalogConfig
from components.catalog.labels import label_items
from components.catalog.rows import ITEM_COLUMNS, check_items
from components.catalog.tables import read_table
from components.catalog.votes import encode
from components.contracts.taxonomy import Taxonomy

DEPARTMENTS, GROUPS, LEAVES = 20, 10, 19  # 3,800 leaves
WORKERS = 2000
VOTES_AN_ITEM = 3
TARGET_SECONDS, TARGET_BYTES = 120.0, 4e9


def generate(folder: Path, items: int) -> None:
    """Writes the three tables; one worker in twenty guesses, the others are right in 85%."""
    chance = np.random.default_rng(0)
    leaves: list[str] = []
    with (folder / "taxonomy.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("taxon_id", "parent_id", "name"), ("root", "", "All")])
        for d in range(DEPARTMENTS):
            writer.writerow((f"d{d}", "root", f"Department {d}"))
            for g in range(GROUPS):
                writer.writerow((f"d{d}g{g}", f"d{d}", f"Group {g}"))
                for n in range(LEAVES):
                    leaves.append(f"d{d}g{g}n{n}")
                    writer.writerow((leaves[-1], f"d{d}g{g}", f"Leaf {n}"))
    truth = chance.integers(0, len(leaves), items)
    with (folder / "catalog.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("item_id", "image", "taxon_id", "product_id", "title", "traffic"))
        for item, leaf in enumerate(truth.tolist()):
            label = leaves[leaf] if item % 2 else ""
            writer.writerow(
                (
                    f"i{item}",
                    f"images/{item}.jpg",
                    label,
                    f"p{item // 2}",
                    f"Thing {item}",
                    item % 9,
                )
            )
    workers = chance.integers(0, WORKERS, (items, VOTES_AN_ITEM))
    right = np.where(workers % 20 == 0, 0.0, 0.85)
    guess = chance.integers(0, len(leaves), workers.shape)
    votes = np.where(chance.random(workers.shape) < right, truth[:, None], guess)
    with (folder / "votes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("item_id", "worker_id", "taxon_id"))
        for item in range(items):
            for worker, vote in zip(workers[item].tolist(), votes[item].tolist(), strict=True):
                writer.writerow((f"i{item}", f"w{worker}", leaves[vote]))


def measure(folder: Path) -> dict[str, object]:
    """Returns seconds of each part, what came out, and the process's peak memory."""
    marks = [time.perf_counter()]
    tree = Taxonomy.read(folder / "taxonomy.csv")
    table = read_table(folder / "catalog.csv", required=ITEM_COLUMNS, what="catalog")
    rows, rejects = check_items(table, tree)
    marks.append(time.perf_counter())
    ballots = read_table(folder / "votes.csv", required=("worker_id",), what="votes")
    votes, bad = encode(
        ballots, taxonomy=tree, item_column="item_id", known={row.key: True for row in rows}
    )
    marks.append(time.perf_counter())
    crowd = label_items(
        votes,
        taxonomy=tree,
        curated={row.key: row.taxon_id for row in rows if row.taxon_id},
        config=CatalogConfig(),
    )
    marks.append(time.perf_counter())
    return {
        "rows": len(rows),
        "votes": len(votes),
        "leaves": len(tree.leaves),
        "rejects": len(rejects) + len(bad),
        "labels": len(crowd.labels),
        "workers_set_aside": sum(bool(worker.set_aside) for worker in crowd.workers),
        "seconds": {
            "rows": marks[1] - marks[0],
            "votes": marks[2] - marks[1],
            "labels": marks[3] - marks[2],
            "total": marks[3] - marks[0],
        },
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> int:
    """Runs the benchmark; exit code 1 where a full run misses a target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), arguments.items)
        found = measure(Path(folder))
    seconds, peak = found["seconds"]["total"], found["peak_bytes"]  # type: ignore[index]
    found["target"] = {"seconds": TARGET_SECONDS, "peak_bytes": TARGET_BYTES, "rows": 1_000_000}
    missed = seconds > TARGET_SECONDS or peak > TARGET_BYTES  # type: ignore[operator]
    found["passed"] = not missed
    print(json.dumps(found, indent=2))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
