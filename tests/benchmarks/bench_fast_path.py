"""What the layers around an item search cost, in microseconds: `make bench-fast-path`.

The app is called in this process, without a socket, so that a microsecond can be seen. Variants
take turns in short rounds, and the best round of each counts: what else the machine does then
hits all of them alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import serving_bundle

from components.contracts.bundle import read_manifest
from components.contracts.files import sha256_file
from components.contracts.taxonomy import Taxonomy
from components.search import searcher as search
from serving import log
from serving.app import create_app
from serving.engine import Engine, LoadedBundle
from serving.identity.config import AccessConfig
from serving.item_table import ItemTable
from serving.settings import Settings
from serving.telemetry import SILENT

UNUSED = Path("unused")
MOST = 1e9
# A served item search takes some 300 us with its socket: what adds a few of them is not noticed.
MOST_MICROSECONDS = 10.0
VARIANTS: dict[str, dict[str, Any]] = {
    "no limit": {},
    "limit by address": {"client_rate": MOST},
    "limit by X-Forwarded-For": {
        "client_rate": MOST,
        "access": AccessConfig(trusted_proxies=("10.0.0.0/8",)),
    },
    "no metrics": {},
}


@dataclass(frozen=True)
class Cost:
    """What a request costs.

    Attributes:
        variant: Which layers were there.
        microseconds: A request, in the best round.
        ratio: To a request without a limit.
    """

    variant: str
    microseconds: float
    ratio: float


def load(directory: Path) -> LoadedBundle:
    """Returns a bundle without its encoder: no photo is asked about here."""
    manifest = read_manifest(directory)
    return LoadedBundle(
        manifest=manifest,
        digest=sha256_file(directory / "manifest.json"),
        taxonomy=Taxonomy.read(directory / "taxonomy.csv"),
        items=ItemTable(directory / "items.jsonl"),
        vectors=search.load_vectors(directory),
        searcher=search.load(directory),
        encode=lambda images: np.zeros((len(images), manifest.embedding_dim), np.float32),
        timings={},
    )


def _scopes(items: int, count: int) -> list[dict[str, Any]]:
    numbers = np.random.default_rng(3).integers(0, items, count).tolist()
    return [
        {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"/v1/items/{serving_bundle.item_id(number)}/similar",
            "raw_path": b"",
            "root_path": "",
            "query_string": b"k=10",
            "headers": [
                (b"host", b"here"),
                (b"x-forwarded-for", f"192.0.2.{number % 250}".encode()),
            ],
            "client": ("10.0.0.9", 4321),
            "server": ("10.0.0.1", 80),
        }
        for number in numbers
    ]


async def _round(app: Any, scopes: list[dict[str, Any]]) -> float:
    """Returns the seconds of one request."""
    good = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal good
        good += message.get("status") == 200

    started = time.perf_counter()
    for scope in scopes:
        await app(dict(scope), receive, send)
    seconds = time.perf_counter() - started
    if good != len(scopes):
        raise SystemExit(f"{len(scopes) - good} of {len(scopes)} requests were refused")
    return seconds / len(scopes)


async def race(apps: dict[str, Any], *, items: int, rounds: int, requests: int) -> dict[str, float]:
    """Returns the seconds of one request to each app, in the best of its rounds."""
    scopes = _scopes(items, requests)
    best = dict.fromkeys(apps, float("inf"))
    for number in range(rounds + 1):
        for name, app in apps.items():
            seconds = await _round(app, scopes)
            # The first round only warms.
            if number:
                best[name] = min(best[name], seconds)
    return best


async def _measure(bundle: LoadedBundle, *, rounds: int, requests: int) -> list[Cost]:
    engine = Engine()
    engine.swap(bundle)
    apps = {
        name: create_app(
            engine,
            Settings(bundle=UNUSED, **options),
            telemetry=SILENT if name == "no metrics" else None,
        )
        for name, options in VARIANTS.items()
    }
    best = await race(apps, items=bundle.manifest.items, rounds=rounds, requests=requests)
    for app in apps.values():
        app.state.console.close()
        app.state.service.close()
    base = best["no limit"]
    return [Cost(name, 1e6 * seconds, seconds / base) for name, seconds in best.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; 1 when a limit slows the short way measurably."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundles", type=Path, help="folder that keeps the bundle between runs")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=1000, help="in each round")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(arguments)
    log.logger.setLevel("ERROR")
    with tempfile.TemporaryDirectory(prefix="lookalike-fast-path-") as scratch:
        (directory,) = serving_bundle.make(
            options.bundles or Path(scratch), versions=1, items=options.items, dim=options.dim
        )
        costs = asyncio.run(
            _measure(load(directory), rounds=options.rounds, requests=options.requests)
        )
    base = costs[0].microseconds
    limited = [cost for cost in costs if cost.variant.startswith("limit")]
    for cost in costs:
        more = cost.microseconds - base
        target = f"  (target: at most +{MOST_MICROSECONDS:g} us)" if cost in limited else ""
        print(
            f"{cost.variant:26} {cost.microseconds:7.1f} us  {more:+6.1f} us  "
            f"x {cost.ratio:.3f}{target}"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=1))
    slow = [cost.variant for cost in limited if cost.microseconds - base > MOST_MICROSECONDS]
    print(f"missed: {', '.join(slow)}" if slow else "every target is reached")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
