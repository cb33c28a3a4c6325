"""Leases: which rater holds which pairs for how long, shared by all replicas through the store.

```
campaigns/<channel>/<campaign>/leases/<rater's digest>.json
```

One small object a rater, replaced with each new piece of work; what has expired is anybody's. Two
replicas that give out the same pair at the same moment each look again after writing: whoever sees
another's claim gives its own up, and at least the later one sees it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from components.contracts.files import sha256_bytes
from components.registry.backoff import Backoff
from components.registry.object_store import (
    ObjectNotFoundError,
    ObjectStore,
    OutcomeUnknownError,
    RateLimitedError,
)

FOLDER = "leases/"
SCHEMA = 1


@dataclass(frozen=True)
class Lease:
    """What one rater holds.

    Attributes:
        rater_id: Who.
        tasks: In the order in which they are shown; golds among them.
        expires: Seconds since 1970.
    """

    rater_id: str
    tasks: tuple[str, ...]
    expires: float


class Leases:
    """All leases of a campaign, followed from the store; safe among threads and replicas."""

    def __init__(self, store: ObjectStore, prefix: str, *, backoff: Backoff | None = None) -> None:
        """Opens the leases without touching the store.

        Args:
            store: The registry's store.
            prefix: The campaign's, such as `campaigns/prod/1f2e.../`.
            backoff: How long a write is tried.
        """
        self._store = store
        self._prefix = f"{prefix}{FOLDER}"
        self._backoff = backoff or Backoff()
        self._lock = threading.Lock()
        self._held: dict[str, tuple[int, Lease]] = {}  # Generation and lease, by key.

    def follow(self) -> None:
        """Reads the leases that have changed since the last call."""
        for info in list(self._store.list(self._prefix)):
            with self._lock:
                known = self._held.get(info.key)
            if known is not None and known[0] == info.generation:
                continue
            try:
                data, generation = self._store.read(info.key)
            except ObjectNotFoundError:
                continue
            lease = _parse(data)
            if lease is not None:
                with self._lock:
                    self._note(info.key, generation, lease)

    def of(self, rater_id: str, *, now: float) -> tuple[str, ...]:
        """Returns the tasks that a rater holds."""
        with self._lock:
            held = self._held.get(self._key(rater_id))
        if held is None or held[1].expires <= now:
            return ()
        return held[1].tasks

    def active(self, *, now: float) -> list[Lease]:
        """Returns the leases that have not expired."""
        with self._lock:
            return [lease for _, lease in self._held.values() if lease.expires > now]

    def take(self, rater_id: str, tasks: Sequence[str], *, expires: float) -> None:
        """Writes what a rater holds from now on; when this returns, every replica can see it.

        Raises:
            ObjectStoreError: The store does not take it; try again.
        """
        lease = Lease(rater_id, tuple(tasks), expires)
        value = {"schema": SCHEMA, "rater_id": rater_id, "tasks": list(tasks), "expires": expires}
        key = self._key(rater_id)
        last: Exception | None = None
        for _ in self._backoff.tries():
            try:
                generation = self._store.write(key, json.dumps(value).encode())
            except (RateLimitedError, OutcomeUnknownError) as error:
                # Written twice it says the same.
                last = error
                continue
            with self._lock:
                self._note(key, generation, lease)
            return
        raise last or OutcomeUnknownError(f"{key}: not written in time")

    def _key(self, rater_id: str) -> str:
        return f"{self._prefix}{sha256_bytes(rater_id.encode())[:32]}.json"

    def _note(self, key: str, generation: int, lease: Lease) -> None:
        self._held[key] = (generation, lease)


def _parse(data: bytes) -> Lease | None:
    """Reads a lease; one that cannot be read holds nothing, as if it had expired."""
    try:
        value = json.loads(data)
        tasks = value["tasks"]
        if value["schema"] != SCHEMA or not all(isinstance(task, str) for task in tasks):
            return None
        return Lease(str(value["rater_id"]), tuple(tasks), float(value["expires"]))
    except (ValueError, KeyError, TypeError):
        return None
