"""Items that a shop has taken out between two daily builds: one small object a channel.

`withdrawals/<channel>.json` is read by every server of the channel within seconds and outlives
bundles: an item that was withdrawn stays away when a new bundle holds it again, until it is
restored. Every change is one compare-and-swap, so that two at a time lose neither.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from components.contracts.errors import InputError, LookalikeError
from components.registry.backoff import Backoff
from components.registry.channel import Note, check_channel, check_text
from components.registry.object_store import (
    ObjectNotFoundError,
    ObjectStore,
    OutcomeUnknownError,
    PreconditionFailedError,
    RateLimitedError,
)

SCHEMA = 1
MOST_ITEMS = 100_000
"""More are refused: the object is read every second. Build a new index without them instead."""
MOST_ID_LENGTH = 1000


@dataclass(frozen=True)
class Withdrawals:
    """What is withdrawn on a channel.

    Attributes:
        items: Item id to who withdrew it, when and why.
        generation: The object's generation in the store; 0 when there is none.
    """

    items: Mapping[str, Note] = field(default_factory=dict)
    generation: int = 0

    def to_bytes(self, channel: str) -> bytes:
        """Returns the object's content."""
        value = {
            "schema": SCHEMA,
            "channel": channel,
            "items": {item_id: asdict(note) for item_id, note in self.items.items()},
        }
        return (json.dumps(value, ensure_ascii=True, allow_nan=False) + "\n").encode()


def key_of(channel: str) -> str:
    """Returns where a channel's withdrawals are kept."""
    return f"withdrawals/{check_channel(channel)}.json"


def parse(data: bytes, *, source: str, generation: int = 0) -> Withdrawals:
    """Reads the object.

    Raises:
        LookalikeError: It cannot be read; nothing is shown again because of that.
    """
    try:
        value: Any = json.loads(data)
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']!r}, expected {SCHEMA}")
        items = {str(item_id): Note(**note) for item_id, note in value["items"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LookalikeError(
            f"{source}: expected the withdrawn items ({error}); restore the object's last good "
            "version"
        ) from None
    return Withdrawals(items, generation)


def read(store: ObjectStore, channel: str) -> Withdrawals:
    """Returns what is withdrawn on a channel.

    Raises:
        LookalikeError: The object cannot be read.
    """
    key = key_of(channel)
    try:
        data, generation = store.read(key)
    except ObjectNotFoundError:
        return Withdrawals()
    return parse(data, source=f"{store.uri}: {key}", generation=generation)


def change(
    store: ObjectStore,
    channel: str,
    item_id: str,
    *,
    withdraw: bool,
    who: str,
    why: str,
    backoff: Backoff,
) -> tuple[Withdrawals, bool]:
    """Withdraws an item, or restores it.

    Args:
        store: The registry's store.
        channel: The channel.
        item_id: The item.
        withdraw: False to restore.
        who: Who does it.
        why: The reason in words.
        backoff: How to wait when others write too.

    Returns:
        What is withdrawn now, and whether this changed it. An item that is withdrawn already
        keeps its first note.

    Raises:
        InputError: A name or reason cannot be one, or too many items are withdrawn.
        LookalikeError: The store did not take it until the deadline.
    """
    if not item_id or len(item_id) > MOST_ID_LENGTH:
        raise InputError(f"item id: expected 1 to {MOST_ID_LENGTH} characters")
    note = Note(
        who=check_text("who", who, limit=200),
        when=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        why=check_text("reason", why),
    )
    failure: LookalikeError | None = None
    tried = False
    for _ in backoff.tries():
        before = read(store, channel)
        if (item_id in before.items) == withdraw:
            # What a lost answer was about may have become true: then it was us.
            return before, tried and (not withdraw or before.items[item_id] == note)
        items = dict(before.items)
        if withdraw:
            items[item_id] = note
        else:
            del items[item_id]
        if len(items) > MOST_ITEMS:
            raise InputError(
                f"channel {channel}: {MOST_ITEMS} items are withdrawn; build a new index without "
                "them"
            )
        after = Withdrawals(items)
        try:
            generation = store.write(
                key_of(channel), after.to_bytes(channel), if_generation=before.generation
            )
        except (PreconditionFailedError, RateLimitedError) as error:
            failure = error
        except OutcomeUnknownError as error:
            failure, tried = error, True
        else:
            return Withdrawals(items, generation), True
    raise LookalikeError(
        f"channel {channel}: not changed: others were faster, or the store refused, for "
        f"{backoff.deadline_s:.0f} s ({failure}); try again"
    )
