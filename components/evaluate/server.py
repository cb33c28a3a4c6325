"""Infra validation: the program that will serve the candidate downloads it and is asked.

A candidate that cannot be loaded, answers otherwise than it did when it was built, is slow or
takes garbage for an image must not reach shoppers however good its figures are.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from components.contracts.bundle import MANIFEST_FILE, read_manifest
from components.contracts.errors import LookalikeError
from components.contracts.files import read_json, sha256_file
from components.contracts.verdict import Check, Status
from components.evaluate import dependencies
from components.evaluate.config import EvaluateConfig
from components.evaluate.server_process import (
    Launch,
    ServerFailedError,
    Session,
    peak_memory_mb,
    running,
)
from components.search.retrieval import BundleIndex

_GOLDEN_ANSWERS = "golden/answers.json"
# Batches and processors add sums up in another order: cosines move by about 1e-6; decoders of
# lossy photos may differ by a grey level.
_TOLERANCE = 1e-3
_REFUSED_SHOWN = 5


def validate(
    bundle: Path, launch: Launch, config: EvaluateConfig
) -> tuple[list[Check], dict[str, float]]:
    """Starts the server in a clean process, which downloads the candidate, and asks it over HTTP.

    Args:
        bundle: The candidate as it was judged: what the server must serve and answer.
        launch: What to start; its `blocked` is found out here.
        config: Limits on time and memory.

    Returns:
        The checks, and the figures that were measured.
    """
    try:
        inside, blocked = dependencies.of_the_image()
    except LookalikeError as error:
        return [Check("server_dependencies", "fail", str(error))], {}
    launch = replace(launch, blocked=blocked)
    checks: list[Check] = []
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="lookalike-server-") as scratch:
        try:
            with running(launch, Path(scratch), config) as session:
                figures = session.figures
                checks += _started(session, launch, len(inside), config)
                checks += _interrogate(session, bundle, config)
        except ServerFailedError as error:
            name = "server_answers" if checks else "server_starts"
            checks.append(Check(name, "fail", f"the server failed: {error}"))
    return checks, figures


def _started(
    session: Session, launch: Launch, packages: int, config: EvaluateConfig
) -> list[Check]:
    seconds = session.figures["start_seconds"]
    refused = session.refused[:_REFUSED_SHOWN]
    more = len(session.refused) - len(refused)
    without = (
        f"; it did without {', '.join(refused)}{f' and {more} more' if more else ''}"
        if refused
        else ""
    )
    return [
        Check(
            "server_dependencies",
            "pass",
            f"the server ran with the {packages} packages of the serving image alone; "
            f"{len(launch.blocked)} modules that this machine has besides were out of its "
            f"reach{without}",
            observed=float(packages),
        ),
        Check(
            "server_downloads",
            "pass",
            f"it downloaded {session.figures['download_bytes'] / 2**20:.1f} MiB from the registry "
            f"in {session.figures['download_seconds']:.1f} s, every sum as recorded",
            observed=session.figures["download_seconds"],
        ),
        Check(
            "server_starts",
            "pass",
            f"the server loaded the bundle in {seconds:.1f} s",
            observed=seconds,
            requirement=f"<= {config.server_start_seconds:g} s",
        ),
    ]


def _interrogate(session: Session, bundle: Path, config: EvaluateConfig) -> list[Check]:
    index = BundleIndex.load(bundle)
    golden = list(read_json(bundle / _GOLDEN_ANSWERS)["queries"])
    photos = [record for record in golden if record["image"]]
    checks = [_check_version(session, bundle)]
    if photos:
        checks.append(_check_photos(session, bundle, photos))
    checks.append(_check_similar(session, index, golden))
    checks.append(_check_garbage(session))

    products = len({item.product_id for item in index.items})
    k = config.server_k
    answered: list[bool] = []

    def counted(wanted: int, results: Sequence[object]) -> None:
        answered.append(len(results) == min(k, wanted))

    if photos:
        bodies = [(bundle / record["image"]).read_bytes() for record in photos]
        _time(
            session,
            "search",
            lambda n: session.results("POST", f"/v1/search?k={k}", bodies[n % len(bodies)]),
            lambda results: counted(products, results),
            config.server_requests,
        )
    # Spread over the whole index: the first items are of one kind in most catalogs.
    rows = np.linspace(0, len(index.items) - 1, min(config.server_requests, len(index.items)))
    paths = [_similar_path(index.items[int(row)].item_id, k) for row in rows]
    _time(
        session,
        "similar",
        lambda n: session.results("GET", paths[n % len(paths)]),
        lambda results: counted(products - 1, results),
        config.server_requests,
    )
    session.figures["full_k"] = float(np.mean(answered))
    session.figures["memory_mb"] = peak_memory_mb(session.process.pid)
    checks.append(_check_full(answered, k))
    checks.append(_check_latency(session.figures, config))
    checks += _check_memory(session.figures, config)
    return checks


def _check_version(session: Session, bundle: Path) -> Check:
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


def _check_photos(session: Session, bundle: Path, photos: Sequence[dict[str, Any]]) -> Check:
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


def _check_similar(session: Session, index: BundleIndex, golden: Sequence[dict[str, Any]]) -> Check:
    """Asks about the items that answered the golden queries first."""
    asked = list(dict.fromkeys(r["item_ids"][0] for r in golden if r["item_ids"]))
    problems = []
    for item_id in asked:
        left_out = [{index.item(item_id).product_id}]
        hits = index.answer(index.vector(item_id), 10, exclude_products=left_out)[0]
        expected = list(zip(hits.item_ids, hits.scores, strict=True))
        problem = difference(expected, session.results("GET", _similar_path(item_id, 10)))
        if problem:
            problems.append(f"{item_id}: {problem}")
    return _same_answers("golden_items", "items", len(asked), problems)


def _similar_path(item_id: str, k: int) -> str:
    return f"/v1/items/{quote(item_id, safe='')}/similar?k={k}"


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


def _check_garbage(session: Session) -> Check:
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


def _time(
    session: Session,
    name: str,
    request: Callable[[int], Sequence[object]],
    look: Callable[[Sequence[object]], None],
    count: int,
) -> None:
    """Times requests one after the other, the first left out: it pays for what is made once."""
    times = []
    for number in range(count + 1):
        start = time.perf_counter()
        results = request(number)
        times.append(1e3 * (time.perf_counter() - start))
        look(results)
    for percentile in (50, 95, 99):
        session.figures[f"{name}_p{percentile}_ms"] = float(np.percentile(times[1:], percentile))


def _check_full(answered: Sequence[bool], k: int) -> Check:
    short = len(answered) - sum(answered)
    return Check(
        "server_full_k",
        "fail" if short else "pass",
        f"{short} of {len(answered)} timed answers had fewer or more results than there are to "
        f"find, {k} at most"
        if short
        else f"all {len(answered)} timed answers were full: {k} results, or all that there are",
        observed=1 - short / len(answered),
        requirement="= 1",
    )


def _check_latency(figures: dict[str, float], config: EvaluateConfig) -> Check:
    words = [
        f"{words} takes {figures[f'{name}_p50_ms']:.1f} ms at the median, "
        f"{figures[f'{name}_p95_ms']:.1f} at p95, {figures[f'{name}_p99_ms']:.1f} at p99"
        for name, words in (("search", "a search by photo"), ("similar", "a search by item"))
        if f"{name}_p50_ms" in figures
    ]
    measured = "search" if "search_p95_ms" in figures else "similar"
    value, limit = figures[f"{measured}_p95_ms"], config.max_search_p95_ms
    kept = not limit or value <= limit
    held = f"{'within' if kept else 'above'} the limit of {limit:g} ms" if limit else "no limit set"
    return Check(
        "server_search_p95_ms",
        "pass" if kept else "fail",
        f"{'; '.join(words)}, over {config.server_requests} requests each; {held}",
        observed=value,
        requirement=f"<= {limit:g} ms" if limit else "",
    )


def _check_memory(figures: dict[str, float], config: EvaluateConfig) -> list[Check]:
    value, limit = figures["memory_mb"], config.max_server_memory_mb
    if not value:
        return []
    kept = not limit or value <= limit
    held = f"{'within' if kept else 'above'} the limit of {limit:g} MiB" if limit else "no limit"
    return [
        Check(
            "server_memory_mb",
            "pass" if kept else "fail",
            f"the server took {value:.0f} MiB at its peak, {held}",
            observed=value,
            requirement=f"<= {limit:g} MiB" if limit else "",
        )
    ]
