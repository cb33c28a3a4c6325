"""Which rating campaign runs in a channel, and how each one ended.

```
campaigns/<channel>/current.json              the campaign that runs, or ran last
campaigns/<channel>/<campaign>/state.json     running, decided, superseded or expired; and why
```

Both move by compare-and-swap, so one campaign runs in a channel, whoever publishes at the same
time. A closed campaign stays closed: a verdict is not taken back by a later look. The campaigns'
content is `components.human_eval`'s business; `promote` needs only to close them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

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

SCHEMA = 1
RUNNING = "running"
DECIDED = "decided"
SUPERSEDED = "superseded"
EXPIRED = "expired"
_STATES = (RUNNING, DECIDED, SUPERSEDED, EXPIRED)


class CampaignStateError(LookalikeError):
    """A campaign's state cannot be trusted; nothing is decided on it."""


@dataclass(frozen=True)
class CampaignState:
    """Where a campaign stands.

    Attributes:
        state: `running`, `decided`, `superseded` or `expired`.
        status: What its last look said: `pass`, `fail`, `undecided`, `expired`; empty before one.
        at: When it was closed or last looked at, ISO 8601 in UTC; empty while nobody looked.
        who: The person or pipeline that closed it.
        why: The reason in words.
        superseded_by: The version of the newer candidate; empty when there is none.
    """

    state: str = RUNNING
    status: str = ""
    at: str = ""
    who: str = ""
    why: str = ""
    superseded_by: str = ""

    @property
    def closed(self) -> bool:
        """Whether no rating counts any more."""
        return self.state != RUNNING


@dataclass(frozen=True)
class Current:
    """The campaign that runs in a channel, or ran last.

    Attributes:
        campaign: Its id; empty when there never was one.
        version: The candidate.
        manifest_digest: SHA-256 of the candidate's manifest.
        incumbent: What it is compared with; empty for nothing.
        since: When it was published, ISO 8601 in UTC.
    """

    campaign: str = ""
    version: str = ""
    manifest_digest: str = ""
    incumbent: str = ""
    since: str = ""


def campaign_prefix(channel: str, campaign: str = "") -> str:
    """Returns the prefix of a channel's campaigns, or of one of them."""
    prefix = f"campaigns/{check_channel(channel)}/"
    return f"{prefix}{campaign}/" if campaign else prefix


def read_current(store: ObjectStore, channel: str) -> tuple[Current, int]:
    """Returns the channel's current campaign and the generation of that record.

    Raises:
        CampaignStateError: It cannot be read.
    """
    value, generation = _read(store, f"{campaign_prefix(channel)}current.json")
    return _parse(Current, value, f"{campaign_prefix(channel)}current.json"), generation


def read_state(store: ObjectStore, channel: str, campaign: str) -> CampaignState:
    """Returns where a campaign stands; one that nobody has looked at is running.

    A campaign that is not its channel's current one and was never closed was being superseded
    when its successor was killed: it is superseded.

    Raises:
        CampaignStateError: It cannot be read.
    """
    state = _state(store, channel, campaign)[0]
    if not state.closed:
        current, _ = read_current(store, channel)
        if current.campaign not in ("", campaign):
            return replace(
                state, state=SUPERSEDED, superseded_by=current.version, at=current.since,
                why=f"superseded by the newer candidate {current.version}",
            )  # fmt: skip
    return state


def _state(store: ObjectStore, channel: str, campaign: str) -> tuple[CampaignState, int]:
    key = f"{campaign_prefix(channel, campaign)}state.json"
    value, generation = _read(store, key)
    state = _parse(CampaignState, value, key)
    if state.state not in _STATES:
        raise CampaignStateError(f"{key}: state {state.state!r}; expected {', '.join(_STATES)}")
    return state, generation


def make_current(store: ObjectStore, channel: str, new: Current, *, generation: int) -> None:
    """Lets a campaign run, on the condition that the record is still the one that was read.

    Raises:
        PreconditionFailedError: Somebody else was faster: read again and decide anew.
    """
    key = f"{campaign_prefix(channel)}current.json"
    try:
        store.write(key, _encode(new), if_generation=generation)
    except OutcomeUnknownError:
        if read_current(store, channel)[0] != new:
            raise


def note_look(
    store: ObjectStore, channel: str, campaign: str, status: str, *, at: datetime, backoff: Backoff
) -> CampaignState:
    """Records what a look at a running campaign said; `undecided` leaves it running."""
    state = RUNNING if status == "undecided" else EXPIRED if status == "expired" else DECIDED
    when = at.isoformat(timespec="milliseconds")
    return _change(
        store, channel, campaign,
        lambda old: replace(old, state=state, status=status, at=when), backoff,
    )  # fmt: skip


def close(
    store: ObjectStore,
    channel: str,
    campaign: str,
    *,
    state: str,
    at: datetime,
    who: str,
    why: str,
    superseded_by: str = "",
    backoff: Backoff | None = None,
) -> CampaignState:
    """Closes a campaign without a decision: superseded or expired. A closed one stays as it is.

    Args:
        store: The registry's store.
        channel: The channel.
        campaign: The campaign.
        state: `superseded` or `expired`.
        at: The time.
        who: The person or pipeline.
        why: The reason in words.
        superseded_by: The version of the newer candidate.
        backoff: How long to try.

    Returns:
        Where it stands now.
    """
    return _change(
        store, channel, campaign,
        lambda old: replace(
            old, state=state, status="expired", at=at.isoformat(timespec="milliseconds"), who=who,
            why=why, superseded_by=superseded_by,
        ),
        backoff or Backoff(),
    )  # fmt: skip


def expire_after_promotion(
    store: ObjectStore, channel: str, *, live: str, live_digest: str, at: datetime, who: str
) -> list[str]:
    """Closes what runs in a channel whose incumbent has just changed; returns the campaigns.

    What is compared with yesterday's incumbent says nothing about going live today.

    Args:
        store: The registry's store.
        channel: The channel that was moved.
        live: What is live now.
        live_digest: SHA-256 of its manifest: its own campaign stays as it was decided.
        at: The time.
        who: The person or pipeline that moved the channel.
    """
    current, _ = read_current(store, channel)
    if not current.campaign or current.manifest_digest == live_digest:
        return []
    if _state(store, channel, current.campaign)[0].closed:
        return []
    close(
        store, channel, current.campaign, state=EXPIRED, at=at, who=who,
        why=f"{live} went live while {current.version} was being rated",
    )  # fmt: skip
    return [current.campaign]


def _change(
    store: ObjectStore,
    channel: str,
    campaign: str,
    change: Callable[[CampaignState], CampaignState],
    backoff: Backoff,
) -> CampaignState:
    key = f"{campaign_prefix(channel, campaign)}state.json"
    for _ in backoff.tries():
        old, generation = _state(store, channel, campaign)
        if old.closed:
            return old
        new = change(old)
        try:
            store.write(key, _encode(new), if_generation=generation)
        except (PreconditionFailedError, RateLimitedError, OutcomeUnknownError):
            # Read again: somebody closed it, or our own write arrived after all.
            continue
        return new
    raise CampaignStateError(f"{key}: could not be written in time; run the same command again")


def _read(store: ObjectStore, key: str) -> tuple[dict[str, Any], int]:
    try:
        data, generation = store.read(key)
    except ObjectNotFoundError:
        return {}, ABSENT
    try:
        value = json.loads(data)
    except ValueError as error:
        raise CampaignStateError(f"{key}: expected JSON ({error})") from None
    if not isinstance(value, dict) or value.pop("schema", None) != SCHEMA:
        raise CampaignStateError(
            f"{key}: expected an object of schema {SCHEMA}; a newer lookalike may have written it"
        )
    return value, generation


def _parse(kind: type[Any], value: dict[str, Any], source: str) -> Any:
    known = {entry.name for entry in fields(kind)}
    if set(value) - known or not all(isinstance(entry, str) for entry in value.values()):
        raise CampaignStateError(f"{source}: expected texts for {', '.join(sorted(known))}")
    return kind(**value)


def _encode(value: Current | CampaignState) -> bytes:
    return (
        json.dumps({"schema": SCHEMA, **asdict(value)}, indent=1, sort_keys=True) + "\n"
    ).encode()
