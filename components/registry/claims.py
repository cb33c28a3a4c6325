"""Who works on a version: `claims/<version>.json` while it is uploaded or removed.

Two builds must not mix their files under one version, and nobody may upload what is just being
removed. A claim whose process has died, or that is too old, is free to take.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from typing import Any

from components.contracts.bundle import check_version
from components.contracts.errors import LookalikeError
from components.registry.object_store import (
    ABSENT,
    ObjectNotFoundError,
    ObjectStore,
    PreconditionFailedError,
)

CLAIM_SECONDS = 3600.0
"""An upload that has not finished after this long is taken for dead."""

REMOVAL = "gc"
"""What a claim names in place of a digest while a version is removed."""


class ClaimedError(LookalikeError):
    """Another build is being published under the version, or it is being removed."""


def claim_key(version: str) -> str:
    """Returns where the upload of a version is announced."""
    return f"claims/{check_version(version)}.json"


def take_claim(store: ObjectStore, version: str, digest: str) -> int:
    """Announces an upload or a removal; returns the claim's generation.

    An upload of the same bundle is joined; a dead one is taken over.

    Args:
        store: The registry's store.
        version: The bundle.
        digest: SHA-256 of the manifest to be published; `REMOVAL` for a removal.

    Raises:
        ClaimedError: Another build is being published under the version.
    """
    key = claim_key(version)
    mine = {"digest": digest, "host": socket.gethostname(), "pid": os.getpid()}
    data = json.dumps(mine).encode()
    for _ in range(10):
        try:
            current, generation = store.read(key)
            updated = store.stat(key).updated
        except ObjectNotFoundError:
            generation = ABSENT
        else:
            claim = _parse_claim(current)
            if claim.get("digest") == digest != REMOVAL:
                return generation
            if not _is_dead(claim, updated):
                raise ClaimedError(
                    f"version {version}: it is being published or removed by process "
                    f"{claim.get('pid')} on {claim.get('host')}; publish under another version, "
                    f"or try again in {CLAIM_SECONDS / 60:.0f} minutes"
                )
        try:
            return store.write(key, data, if_generation=generation)
        except PreconditionFailedError:
            continue
    raise ClaimedError(f"version {version}: others publish it at the same time; try again")


def release_claim(store: ObjectStore, version: str, generation: int) -> None:
    """Ends the announcement; one that somebody took over is theirs."""
    with contextlib.suppress(PreconditionFailedError):
        store.delete(claim_key(version), if_generation=generation)


def claim_is_dead(store: ObjectStore, version: str, touched: float, *, now: float) -> bool:
    """Whether nobody works on an upload any more.

    Args:
        store: The registry's store.
        version: The bundle.
        touched: When its newest object was written, in seconds since 1970.
        now: Seconds since 1970.
    """
    key = claim_key(version)
    try:
        data, _ = store.read(key)
        return _is_dead(_parse_claim(data), store.stat(key).updated)
    except ObjectNotFoundError:
        return now - touched > CLAIM_SECONDS


def _parse_claim(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_dead(claim: dict[str, Any], updated: float) -> bool:
    pid = claim.get("pid")
    if not isinstance(pid, int) or time.time() - updated > CLAIM_SECONDS:
        return True
    if claim.get("host") != socket.gethostname():
        return False
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def claim_generation(store: ObjectStore, version: str) -> int:
    """Returns the claim's generation; 0 when nobody claims the version."""
    try:
        return store.stat(claim_key(version)).generation
    except ObjectNotFoundError:
        return ABSENT
