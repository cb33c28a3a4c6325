"""What the ratings say so far, worked out in a process of its own: raters must not wait for it.

`python -m serving.rating.estimates REGISTRY CHANNEL CAMPAIGN` prints the figures as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from components.contracts.errors import LookalikeError
from components.contracts.verdict import Check
from components.human_eval.campaign import open_campaign
from components.human_eval.judge import look_at
from components.registry.object_store import open_store
from serving.rating.owner_page import Estimates

_TIMEOUT_S = 120.0


def work_out(registry: str, channel: str, campaign: str, *, now: datetime) -> Estimates:
    """Returns what a look at a campaign would say now.

    Raises:
        LookalikeError: The campaign cannot be read.
    """
    findings = look_at(open_campaign(open_store(registry), channel, campaign), now=now)
    labels, seconds = findings.labels, [rating.seconds for rating in findings.ratings]
    return Estimates(
        status=findings.verdict.status,
        checks=findings.verdict.checks,
        alpha=labels.alpha,
        youden=(labels.youden, labels.youden_bound),
        seconds=statistics.median(seconds) if seconds else None,
    )


class Estimator:
    """Keeps the newest estimates; asks for fresh ones aside, one at a time."""

    def __init__(self, registry: str, *, every_s: float = 15.0) -> None:
        """Starts nothing yet.

        Args:
            registry: The registry's URI.
            every_s: Least seconds between two workings out.
        """
        self._registry = registry
        self._every_s = every_s
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], tuple[float, Estimates]] = {}
        self._busy: set[tuple[str, str]] = set()

    def newest(self, channel: str, campaign: str) -> Estimates:
        """Returns the newest estimates, and has them renewed when they are old."""
        key = (channel, campaign)
        with self._lock:
            made, found = self._found.get(key, (0.0, Estimates()))
            stale = time.monotonic() - made > self._every_s or not found.at
            start = stale and key not in self._busy
            if start:
                self._busy.add(key)
        if start:
            threading.Thread(target=self._renew, args=key, daemon=True).start()
        return found

    def _renew(self, channel: str, campaign: str) -> None:
        try:
            found = _ask(self._registry, channel, campaign)
        finally:
            with self._lock:
                self._busy.discard((channel, campaign))
        with self._lock:
            self._found[channel, campaign] = (time.monotonic(), found)


def _ask(registry: str, channel: str, campaign: str) -> Estimates:
    command = [sys.executable, "-m", "serving.rating.estimates", registry, channel, campaign]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Estimates(error="The estimates took too long; they are tried again.", at="just now")
    if run.returncode:
        return Estimates(error=run.stderr.strip()[-500:] or "The estimates failed.", at="just now")
    return _from_json(json.loads(run.stdout))


def _from_json(value: dict[str, Any]) -> Estimates:
    return Estimates(
        **{
            **value,
            "checks": tuple(Check(**entry) for entry in value["checks"]),
            "youden": (value["youden"][0], value["youden"][1]),
        }
    )


def main(arguments: list[str]) -> int:
    """Prints the estimates; returns the exit code."""
    # Raters are served first.
    os.nice(10)
    now = datetime.now(UTC)
    try:
        found = work_out(*arguments, now=now)
    except LookalikeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    value = {**asdict(found), "at": f"{now:%H:%M:%S} UTC"}
    sys.stdout.write(json.dumps(value))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
