"""The registry under many hands and under the axe: nothing may be lost, doubled or half there.

    python tests/benchmarks/registry_stress.py contend --store local|gcs --processes 64 --seconds 60
    python tests/benchmarks/registry_stress.py kill --store local|gcs --kills 200

`contend`: processes promote, roll back and release on one channel; the fake Google Cloud Storage
takes one write a second and loses some answers. Every move that a process was told it made must
stand in the history exactly once, the history must be one chain, and hold nothing else.
`kill`: a process publishes, promotes, rolls back and collects garbage until kill -9; after each
kill all that is visible must be whole. Prints one JSON object; ends with 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fake_gcs import Faults, FaultyProxy, fake_gcs_server, make_bucket

from components.contracts.bundle import Manifest, list_files, write_manifest
from components.contracts.errors import LookalikeError
from components.contracts.files import write_atomically, write_json, write_json_lines
from components.registry import sweep
from components.registry.backoff import Backoff
from components.registry.channel import Move
from components.registry.object_store import OutcomeUnknownError, open_store
from components.registry.registry import Registry

CHANNEL = "prod"
VERSIONS = tuple(f"v{number}" for number in range(1, 7))
# Forked, not spawned: a kill should hit the registry's code, not Python's start. The parent holds
# no thread and no connection when it forks.
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Place:
    """A registry to stress.

    Attributes:
        uri: Its URI.
        environment: What the workers need in theirs.
    """

    uri: str
    environment: dict[str, str]

    def open(self, *, deadline_s: float = 20.0) -> Registry:
        """Opens the registry in the calling process."""
        os.environ.update(self.environment)
        first = 0.3 if self.environment else 0.005
        return Registry(
            open_store(self.uri), Backoff(first_s=first, cap_s=4.0, deadline_s=deadline_s)
        )


@contextmanager
def place(store: str, faults: Faults, folder: Path) -> Iterator[tuple[Place, Place]]:
    """Yields the registry as workers see it, with faults, and as the judge does, without."""
    if store == "local":
        here = Place(str(folder / "registry"), {})
        yield here, here
        return
    with fake_gcs_server() as address:
        make_bucket(address, "stress")
        uri = f"gs://stress/{uuid.uuid4().hex}"
        # In a process of its own: threads of the proxy must not be forked into the workers.
        listening, told = _FORK.Pipe()
        proxy = _FORK.Process(target=_proxy, args=(address, faults, told), daemon=True)
        proxy.start()
        try:
            faulty = {"STORAGE_EMULATOR_HOST": listening.recv()}
            yield Place(uri, faulty), Place(uri, {"STORAGE_EMULATOR_HOST": address})
        finally:
            proxy.kill()
            proxy.join()


def _proxy(address: str, faults: Faults, told: Any) -> None:
    proxy = FaultyProxy(address, faults)
    told.send(proxy.address)
    signal.pause()


def bundle(folder: Path, version: str) -> Path:
    """Makes a small whole bundle."""
    root = folder / version
    write_json_lines(root / "items.jsonl", [{"item_id": name} for name in "abcd"])
    write_json(root / "encoder" / "encoder.json", {"digest": "e" * 64})
    for number in range(4):
        write_atomically(root / "index" / f"part-{number}", f"{version} {number} " * 3000)
    manifest = Manifest(
        version=version,
        created=datetime.now(UTC).isoformat(),
        mode="scratch",
        items=4,
        embedding_dim=4,
        encoder_digest="e" * 64,
        taxonomy_digest="",
        index={},
        lineage={},
        parameters={},
        metrics={},
        files=list_files(root),
    )
    write_manifest(root, manifest)
    return root


def contend(store: str, processes: int, seconds: float, seed: int) -> dict[str, Any]:
    """See the module."""
    faults = Faults(refused=0.02, lost=0.03, torn=0.01, write_interval_s=1.0, seed=seed)
    with tempfile.TemporaryDirectory() as scratch, place(store, faults, Path(scratch)) as places:
        workers_place, judge_place = places
        _in_child(_publish_all, judge_place, Path(scratch))
        logs = [Path(scratch) / f"log-{number}" for number in range(processes)]
        end = time.monotonic() + seconds
        workers = [
            _FORK.Process(target=_move_about, args=(workers_place, log, end, seed + number))
            for number, log in enumerate(logs)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        crashed = sum(worker.exitcode != 0 for worker in workers)
        records = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
        judge = judge_place.open()
        moves = list(judge.history(CHANNEL))
        return _judge(moves, records, crashed, judge.channel(CHANNEL).live)


def _judge(
    moves: list[Move], records: list[dict[str, Any]], crashed: int, live: str
) -> dict[str, Any]:
    problems = [] if not crashed else [f"{crashed} workers crashed"]
    outcomes = Counter(record["outcome"] for record in records)
    told = [record["id"] for record in records if record["outcome"] == "moved"]
    standing = Counter(move.id for move in moves)
    if lost := [one for one in told if standing[one] == 0]:
        problems.append(f"{len(lost)} moves were confirmed and are not in the history")
    if doubled := [one for one, times in standing.items() if times > 1]:
        problems.append(f"{len(doubled)} moves stand in the history more than once")
    phantom = set(standing) - set(told)
    if len(phantom) > outcomes["unknown"]:
        problems.append(f"{len(phantom)} moves in the history that nobody made")
    if [move.number for move in moves] != list(range(len(moves), 0, -1)):
        problems.append("the history's numbers are not one sequence")
    for newer, older in itertools.pairwise(moves):
        if newer.previous != older.to:
            problems.append(f"entry {newer.number} starts elsewhere than {older.number} ended")
    if moves and moves[0].to != live:
        problems.append("what is live is not what the newest entry says")
    if not moves:
        problems.append("nothing was moved at all")
    return {"history": len(moves), "outcomes": dict(outcomes), "problems": problems}


def _publish_all(where: Place, folder: Path) -> None:
    registry = where.open()
    for version in VERSIONS:
        registry.publish_bundle(bundle(folder / "built", version))


def _move_about(where: Place, log: Path, end: float, seed: int) -> None:
    """Promotes, rolls back and releases at random until the time is over."""
    dice = random.Random(seed)
    registry = where.open()
    with log.open("a") as file:
        while time.monotonic() < end:
            outcome, identity = "refused", ""
            try:
                move = _one_move(registry, dice)
                outcome, identity = "moved", move.id
            except OutcomeUnknownError:
                outcome = "unknown"
            except LookalikeError as error:
                outcome = type(error).__name__
            file.write(json.dumps({"outcome": outcome, "id": identity}) + "\n")
            file.flush()


def _one_move(registry: Registry, dice: random.Random) -> Move:
    who = f"process {os.getpid()}"
    state = registry.channel(CHANNEL)
    if state.quarantine and dice.random() < 0.4:
        version = dice.choice(list(state.quarantine))
        return registry.release(CHANNEL, version, who=who, why="stress")
    if state.live and dice.random() < 0.3:
        return registry.rollback(CHANNEL, who=who, why="stress")
    return registry.move(CHANNEL, to=dice.choice(VERSIONS), who=who, why="stress")


def kill(store: str, kills: int, seed: int) -> dict[str, Any]:
    """See the module."""
    dice = random.Random(seed)
    problems: list[str] = []
    hit: Counter[str] = Counter()
    faults = Faults(refused=0.02, lost=0.01, torn=0.01, seed=seed)
    with tempfile.TemporaryDirectory() as scratch, place(store, faults, Path(scratch)) as places:
        workers_place, judge_place = places
        _in_child(_publish_all, judge_place, Path(scratch))
        moves = 0
        for number in range(kills):
            doing = Path(scratch) / "doing"
            doing.write_text("start")
            worker = _FORK.Process(
                target=_work_for_ever, args=(workers_place, Path(scratch), doing, seed + number)
            )
            worker.start()
            while doing.read_text() == "start" and worker.is_alive():
                time.sleep(0.001)
            time.sleep(dice.uniform(0.0, 0.5 if store == "local" else 2.0))
            os.kill(worker.pid or 0, signal.SIGKILL)
            worker.join()
            if worker.exitcode != -signal.SIGKILL:
                problems.append(f"kill {number}: the worker had crashed before")
            hit[doing.read_text()] += 1
            found = _in_child(_look, judge_place)
            problems += [f"kill {number} during {doing.read_text()}: {one}" for one in found[0]]
            if found[1] < moves:
                problems.append(f"kill {number}: the history became shorter")
            moves = found[1]
        left = _in_child(_finish, judge_place)
    return {"kills": kills, "during": dict(hit), "history": moves, "problems": problems + left}


def _work_for_ever(where: Place, folder: Path, doing: Path, seed: int) -> None:
    """Publishes, promotes, rolls back and collects garbage until it is killed."""
    dice = random.Random(seed)
    registry = where.open()
    number = 0
    while True:
        number += 1
        task = dice.choice(["publish", "publish", "promote", "rollback", "gc"])
        built = folder / "work"
        if task == "publish":
            version = bundle(built, f"w{seed}-{number}").name
        doing.write_text(task)
        with suppress(LookalikeError):
            if task == "publish":
                registry.publish_bundle(built / version)
            elif task == "gc":
                plan = sweep.plan(registry.store, keep=6, older_than_s=0.0)
                sweep.sweep(registry.store, plan.doomed, registry.backoff)
            elif task == "promote":
                versions = registry.versions()
                registry.move(CHANNEL, to=dice.choice(versions), who="worker", why="stress")
            else:
                registry.rollback(CHANNEL, who="worker", why="stress")


def _look(where: Place) -> tuple[list[str], int]:
    """Returns what a reader sees that must not be, and the length of the history."""
    registry = where.open()
    state = registry.channel(CHANNEL)
    problems: list[str] = []
    if state.live and not registry.has(state.live):
        problems.append(f"{state.live} is live and not there")
    for version in registry.versions():
        problems += [f"{version}: {problem}" for problem in registry.verify(version)]
    return problems, sum(1 for _ in registry.history(CHANNEL))


def _finish(where: Place) -> list[str]:
    """Returns what is left over after a last, undisturbed sweep."""
    registry = where.open()
    later = time.time() + 2 * 3600
    plan = sweep.plan(registry.store, keep=6, older_than_s=0.0, now=later)
    sweep.sweep(registry.store, plan.doomed, registry.backoff)
    whole = set(registry.versions())
    keys = [info.key for info in registry.store.list("")]
    left = [key for key in keys if key.startswith("bundles/") and key.split("/")[1] not in whole]
    left += [key for key in keys if key.startswith(("condemned/", "claims/"))]
    return [f"left over: {key}" for key in left]


def _in_child(work: Any, *arguments: Any) -> Any:
    """Does the work in a process of its own, so that the parent keeps no connection to fork."""
    receiving, sending = _FORK.Pipe(duplex=False)

    def run() -> None:
        sending.send(work(*arguments))

    child = _FORK.Process(target=run)
    child.start()
    sending.close()
    try:
        return receiving.recv()
    finally:
        child.join()


def main() -> int:
    """Runs one of the two; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["contend", "kill"])
    parser.add_argument("--store", choices=["local", "gcs"], default="local")
    parser.add_argument("--processes", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.what == "contend":
        result = contend(given.store, given.processes, given.seconds, given.seed)
    else:
        result = kill(given.store, given.kills, given.seed)
    print(json.dumps({"what": given.what, "store": given.store, **result}, indent=2))
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
