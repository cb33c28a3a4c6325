"""The end of a canary, noted where every server of the channel reads it.

`trials/<channel>/<version>.json` is written once. The channel itself is not moved: that is a
person's or a pipeline's decision, with its own history.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from components.contracts.bundle import check_version
from components.contracts.errors import LookalikeError
from components.registry.backoff import Backoff
from components.registry.channel import check_channel
from components.registry.object_store import (
    ABSENT,
    ObjectNotFoundError,
    ObjectStore,
    OutcomeUnknownError,
    PreconditionFailedError,
    RateLimitedError,
)


def key_of(channel: str, version: str) -> str:
    """Returns where a canary's end is noted."""
    return f"trials/{check_channel(channel)}/{check_version(version)}.json"


def ended(store: ObjectStore, channel: str, version: str) -> str:
    """Returns why a version is tried no more; empty while it is.

    Raises:
        LookalikeError: The store cannot be read.
    """
    try:
        data, _ = store.read(key_of(channel, version))
    except ObjectNotFoundError:
        return ""
    try:
        value: Any = json.loads(data)
        return str(value["reason"]) or "no reason given"
    except (ValueError, KeyError, TypeError):
        # Somebody wanted it to end, whatever the note says.
        return "the note on its end cannot be read"


def end(
    store: ObjectStore, channel: str, version: str, reason: str, backoff: Backoff | None = None
) -> None:
    """Notes that a version is tried no more; the first note stays.

    Raises:
        LookalikeError: The store did not take it until the deadline.
    """
    when = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    value = {"channel": channel, "version": version, "when": when, "reason": reason}
    data = (json.dumps(value, sort_keys=True) + "\n").encode()
    failure: LookalikeError | None = None
    for _ in (backoff or Backoff(deadline_s=30.0)).tries():
        try:
            store.write(key_of(channel, version), data, if_generation=ABSENT)
        except PreconditionFailedError:
            return
        except (RateLimitedError, OutcomeUnknownError) as error:
            failure = error
        else:
            return
    raise failure or LookalikeError(f"{key_of(channel, version)}: not written")
