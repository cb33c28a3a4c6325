"""Infra validation: the program that will serve the bundle is started on a copy of it and asked.

A candidate that cannot be loaded, answers otherwise than it did when it was built, is slow or
takes garbage for an image must not reach shoppers however good its figures are.
"""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from components.contracts.bundle import MANIFEST_FILE, read_manifest
from components.contracts.files import read_json, sha256_file
from components.contracts.verdict import Check, Status
from components.evaluate.config import EvaluateConfig
from components.search.retrieval import BundleIndex

_GOLDEN_ANSWERS = "golden/answers.json"
# Batches and processors add sums up in another order: cosines move by about 1e-6; decoders of
# lossy photos may differ by a grey level.
_TOLERANCE = 1e-3
_POLL_SECONDS = 0.05
_LOG_TAIL = 400


class ServerFailedError(Exception):
    """The server did not do what was asked; the message says what."""


@dataclass
class _Session:
    """A running server and the time left for it."""

    port: int
    process: subprocess.Popen[bytes]
    deadline: float
    figures: dict[str, float] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Returns the status and the parsed JSON of one request.

        Raises:
            ServerFailedError: There is no answer in time, or it is not JSON.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise ServerFailedError("its answers took longer than evaluate.server_seconds")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=left)
        try:
            headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServerFailedError(f"{method} {path}: no usable answer ({error!r})") from None
        finally:
            connection.close()

    def results(self, method: str, path: str, body: bytes | None = None) -> list[dict[str, Any]]:
        """Returns the results of a search.

        Raises:
            ServerFailedError: The answer is not a list of results.
        """
        status, answer = self.ask(method, path, body)
        results = answer.get("results") if isinstance(answer, dict) else None
        if status != 200 or not isinstance(results, list):
            raise ServerFailedError(f"{method} {path}: status {status}, {str(answer)[:200]}")
        return results


def validate(
    bundle: Path, command: Sequence[str], config: EvaluateConfig
) -> tuple[list[Check], dict[str, float]]:
    """Starts the server on a copy of the bundle and asks it over HTTP.

    Args:
        bundle: The candidate.
        command: What starts the server; `--bundle`, `--host`, `--port` and `--ready-file` are
            appended.
        config: Time limits and thresholds.

    Returns:
        The checks, and the figures that were measured.
    """
    checks: list[Check] = []
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="lookalike-server-") as scratch:
        copy = Path(scratch) / "bundle"
        shutil.copytree(bundle, copy)
        try:
            with _running(copy, command, Path(scratch), config) as session:
                figures = session.figures
                seconds = figures["start_seconds"]
                checks.append(
                    Check(
                        "server_starts",
                        "pass",
                        f"the server loaded a copy of the bundle in {seconds:.1f} s",
                        observed=seconds,
                        requirement=f"<= {config.server_start_seconds:g} s",
                    )
                )
                checks.extend(_interrogate(session, copy, config))
        except ServerFailedError as error:
            name = "server_answers" if checks else "server_starts"
            checks.append(Check(name, "fail", f"the server failed: {error}"))
    return checks, figures


@contextmanager
def _running(
    bundle: Path, command: Sequence[str], scratch: Path, config: EvaluateConfig
) -> Iterator[_Session]:
    """Runs the server for the length of the block; it is always ended."""
    ready, log = scratch / "ready.json", scratch / "server.log"
    arguments = [
        *command,
        *("--bundle", str(bundle)),
        *("--host", "127.0.0.1"),
        *("--port", "0"),
        *("--ready-file", str(ready)),
    ]
    start = time.monotonic()
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=scratch,
                # It stays in this process's group: who ends the step as a group ends it too.
            )
        except OSError as error:
            raise ServerFailedError(f"{arguments[0]} cannot be started ({error})") from None
        try:
            port = _wait_until_ready(process, ready, log, start, config)
            session = _Session(port, process, time.monotonic() + config.server_seconds)
            session.figures["start_seconds"] = time.monotonic() - start
            yield session
        finally:
            process.kill()
            process.wait()


def _wait_until_ready(
    process: subprocess.Popen[bytes], ready: Path, log: Path, start: float, config: EvaluateConfig
) -> int:
    while not ready.exists():
        if process.poll() is not None:
            raise ServerFailedError(
                f"it ended with {process.returncode} before it was ready: {_tail(log)}"
            )
        if time.monotonic() - start > config.server_start_seconds:
            raise ServerFailedError(
                f"it was not ready after {config.server_start_seconds:g} s: {_tail(log)}"
            )
        time.sleep(_POLL_SECONDS)
    value = read_json(ready)
    port = value.get("port") if isinstance(value, dict) else None
    if not isinstance(port, int):
        raise ServerFailedError(f"expected a port in its ready file, received {value!r}")
    return port


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    return text[-_LOG_TAIL:] or "it printed nothing"


def _interrogate(session: _Session, bundle: Path, config: EvaluateConfig) -> list[Check]:
    index = BundleIndex.load(bundle)
    golden = list(read_json(bundle / _GOLDEN_ANSWERS)["queries"])
    photos = [record for record in golden if record["image"]]
    checks = [_check_version(session, bundle)]
    if photos:
        checks.append(_check_photos(session, bundle, photos))
    checks.append(_check_similar(session, index, golden))
    checks.append(_check_garbage(session))
    if photos:
        bodies = [(bundle / record["image"]).read_bytes() for record in photos]
        _time(
            session,
            "search",
            lambda n: session.results("POST", "/v1/search?k=10", bodies[n % len(bodies)]),
            config.server_requests,
        )
    paths = [_similar_path(item.item_id) for item in index.items[: config.server_requests]]
    _time(
        session,
        "similar",
        lambda n: session.results("GET", paths[n % len(paths)]),
        config.server_requests,
    )
    session.figures["memory_mb"] = _peak_memory_mb(session.process.pid)
    checks.extend(_check_limits(session.figures, config))
    return checks


def _check_version(session: _Session, bundle: Path) -> Check:
    manifest = read_manifest(bundle)
    digest = sha256_file(bundle / MANIFEST_FILE)
    status, answer = session.ask("GET", "/version")
    said = answer if isinstance(answer, dict) else {}
    same = (said.get("version"), said.get("manifest_sha256")) == (manifest.version, digest)
    if status == 200 and same:
        return Check("server_version", "pass", f"the server says it serves {manifest.version}")
    return Check(
        "server_version",
        "fail",
        f"the server should say that it serves {manifest.version} with manifest "
        f"{digest[:12]}, it said {str(said)[:200]} with status {status}",
    )


def _check_photos(session: _Session, bundle: Path, photos: Sequence[dict[str, Any]]) -> Check:
    problems = []
    for record in photos:
        expected = list(zip(record["item_ids"], record["scores"], strict=True))
        results = session.results(
            "POST", f"/v1/search?k={max(1, len(expected))}", (bundle / record["image"]).read_bytes()
        )
        problem = difference(expected, results)
        if problem:
            problems.append(f"{record['query_id']}: {problem}")
    return _same_answers("golden_photos", "golden photos", len(photos), problems)


def _check_similar(
    session: _Session, index: BundleIndex, golden: Sequence[dict[str, Any]]
) -> Check:
    """Asks about the items that answered the golden queries first."""
    asked = list(dict.fromkeys(r["item_ids"][0] for r in golden if r["item_ids"]))
    problems = []
    for item_id in asked:
        left_out = [{index.item(item_id).product_id}]
        hits = index.answer(index.vector(item_id), 10, exclude_products=left_out)[0]
        expected = list(zip(hits.item_ids, hits.scores, strict=True))
        problem = difference(expected, session.results("GET", _similar_path(item_id)))
        if problem:
            problems.append(f"{item_id}: {problem}")
    return _same_answers("golden_items", "items", len(asked), problems)


def _similar_path(item_id: str) -> str:
    return f"/v1/items/{quote(item_id, safe='')}/similar?k=10"


def difference(expected: Sequence[tuple[str, float]], results: Sequence[dict[str, Any]]) -> str:
    """Returns how an answer differs from the expected one; empty when it does not.

    Items that are as good as equally similar may change places.

    Args:
        expected: (item id, score), best first.
        results: What the server answered: objects with `item_id` and `score`.
    """
    if len(results) != len(expected):
        return f"expected {len(expected)} results, received {len(results)}"
    known = dict(expected)
    last = min((score for _, score in expected), default=0.0)
    for place, ((_, score), result) in enumerate(zip(expected, results, strict=True), start=1):
        item_id, received = result.get("item_id"), result.get("score")
        if not isinstance(received, int | float) or not abs(received - score) <= _TOLERANCE:
            return f"place {place}: expected the score {score:.5f}, received {received!r}"
        if not abs(received - known.get(str(item_id), last)) <= _TOLERANCE:
            return f"place {place}: received {item_id!r} with {received:.5f}, expected otherwise"
    return ""


def _same_answers(name: str, what: str, count: int, problems: Sequence[str]) -> Check:
    share = 1 - len(problems) / count if count else 0.0
    if count and not problems:
        reason = f"over HTTP the server gave {count} {what} the answers recorded with the bundle"
    elif not count:
        reason = f"the bundle has no {what} to ask the server about"
    else:
        reason = (
            f"over HTTP the server answered {len(problems)} of {count} {what} otherwise than "
            f"recorded; first: {problems[0]}"
        )
    status: Status = "pass" if count and not problems else "fail"
    return Check(name, status, reason, observed=share, requirement="= 1")


def _check_garbage(session: _Session) -> Check:
    status, _ = session.ask("POST", "/v1/search", b"this is not an image")
    if 400 <= status < 500:
        return Check("server_refuses_garbage", "pass", f"garbage instead of a photo gets {status}")
    return Check(
        "server_refuses_garbage",
        "fail",
        f"garbage instead of a photo should get a 4xx, it got {status}",
        observed=float(status),
        requirement="4xx",
    )


def _time(session: _Session, name: str, request: Callable[[int], object], count: int) -> None:
    times = []
    for number in range(count):
        start = time.perf_counter()
        request(number)
        times.append(1e3 * (time.perf_counter() - start))
    for percentile in (50, 95, 99):
        session.figures[f"{name}_p{percentile}_ms"] = float(np.percentile(times, percentile))


def _peak_memory_mb(pid: int) -> float:
    """Returns the process's peak resident memory in MiB; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return float(lines[0][1]) / 1024 if lines else 0.0


def _check_limits(figures: dict[str, float], config: EvaluateConfig) -> list[Check]:
    limits = (
        ("server_search_p95_ms", "search_p95_ms", config.max_search_p95_ms, "ms"),
        ("server_memory_mb", "memory_mb", config.max_server_memory_mb, "MiB"),
    )
    checks = []
    for name, figure, limit, unit in limits:
        if limit and figure in figures:
            value = figures[figure]
            kept = value <= limit
            checks.append(
                Check(
                    name,
                    "pass" if kept else "fail",
                    f"{name} is {value:.1f} {unit}, {'within' if kept else 'above'} the limit of "
                    f"{limit:g}",
                    observed=value,
                    requirement=f"<= {limit:g} {unit}",
                )
            )
    return checks
