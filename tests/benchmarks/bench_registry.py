"""How long the engineer on call waits: whole processes, on a registry that has been used for years.

    python tests/benchmarks/bench_registry.py [--bundles 500] [--moves 5000] [--repeat 5] [--json]

`lookalike index status` and `rollback` on both stores, as ratios to `python -c "import
google.cloud.storage"` (at most 4, on gs://) and as seconds above `python -c pass` (at most 0.4, on
a local registry). Medians. Google Cloud Storage is the fake one: no network's delay is in this.
Ends with 1 when a figure is not reached.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fake_gcs import fake_gcs_server, make_bucket
from registry_stress import bundle

from components.registry import history
from components.registry.channel import ChannelState, Move
from components.registry.object_store import ObjectStore, open_store
from components.registry.registry import Registry

_COMMAND = (sys.executable, "-m", "pipelines.cli.main", "index")


def fill(store: ObjectStore, folder: Path, bundles: int, moves: int) -> None:
    """Fills a registry, writing the channel's objects as so many moves would have left them."""
    built = bundle(folder, "v0")
    registry = Registry(store)
    registry.publish_bundle(built)
    manifest = json.loads((built / "manifest.json").read_text())
    files = {path: (built / path).read_bytes() for path in manifest["files"]}
    for number in range(1, bundles):
        for path, data in files.items():
            store.write(f"bundles/v{number}/{path}", data)
        text = json.dumps(manifest | {"version": f"v{number}"})
        store.write(f"bundles/v{number}/manifest.json", text.encode())
    state = ChannelState("prod")
    for number in range(1, moves + 1):
        move = Move(
            id=f"{number:032x}",
            number=number,
            kind="promote",
            who="pipeline",
            when="2026-11-22T10:00:00Z",
            previous=state.live,
            to=f"v{number % bundles}",
            why="daily run",
        )
        state = history.seal(store, state.after(move))
    store.write("channels/prod.json", state.to_bytes())


def seconds(command: Sequence[str], repeat: int) -> float:
    """Returns the median wall time of a process, in seconds."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def commands(uri: str) -> dict[str, list[str]]:
    """Returns what is measured, by name."""
    place = ("--registry", uri)
    return {
        "status": [*_COMMAND, "status", *place],
        "rollback": [*_COMMAND, "rollback", *place, "--channel", "prod", "--reason", "benchmark"],
    }


def main() -> int:
    """Measures and prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundles", type=int, default=500)
    parser.add_argument("--moves", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch, fake_gcs_server() as address:
        os.environ["STORAGE_EMULATOR_HOST"] = address
        make_bucket(address, "bench")
        nothing = seconds([sys.executable, "-c", "pass"], given.repeat)
        client = seconds([sys.executable, "-c", "import google.cloud.storage"], given.repeat)
        for store in ("local", "gcs"):
            uri = str(Path(scratch) / "registry") if store == "local" else "gs://bench/registry"
            fill(open_store(uri), Path(scratch) / store, given.bundles, given.moves)
            for name, command in commands(uri).items():
                spent = seconds(command, given.repeat)
                figure, limit, unit = (
                    (spent - nothing, 0.4, "s above python -c pass")
                    if store == "local"
                    else (spent / client, 4.0, "x import google.cloud.storage")
                )
                rows.append(
                    {
                        "store": store,
                        "command": name,
                        "seconds": round(spent, 3),
                        "figure": round(figure, 3),
                        "limit": limit,
                        "unit": unit,
                        "reached": figure <= limit,
                    }
                )
    if given.json:
        print(json.dumps({"python_s": nothing, "client_import_s": client, "rows": rows}, indent=2))
    else:
        print(f"python -c pass: {nothing:.3f} s; import google.cloud.storage: {client:.3f} s")
        for row in rows:
            print(
                f"{row['store']:<6} {row['command']:<9} {row['seconds']:.3f} s = "
                f"{row['figure']:.2f} {row['unit']} (at most {row['limit']:g}): "
                f"{'reached' if row['reached'] else 'NOT REACHED'}"
            )
    return 0 if all(row["reached"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
