"""What shoppers ask about, as counts: `queries/<channel>/<day>/<segment>.jsonl`.

Servers write one small object every few minutes. It holds how often each item was asked about and
the SHA-256 of photos with their counts; no time of a single request, no address, no session, no
picture. Objects are write-once, so servers never wait for each other.

    {"schema": 1, "channel": "prod", "from": ..., "to": ..., "share": 0.1, "version": ...}
    {"item_id": "A17", "count": 3}
    {"photo": "9f86...", "count": 1}
"""

from __future__ import annotations

import json
import logging
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from components.registry.channel import check_channel
from components.registry.object_store import ABSENT, ObjectStore

SCHEMA = 1
_DAY = "%Y-%m-%d"
logger = logging.getLogger("lookalike.query_log")


@dataclass(frozen=True)
class Segment:
    """One object of the log.

    Attributes:
        start: When its first query came.
        stop: When its last query may have come.
        share: The share of all queries that it holds, in (0, 1].
        version: The bundle that answered.
        items: Item id to how often it was asked about.
        photos: SHA-256 of photos to how often they were asked about.
    """

    start: datetime
    stop: datetime
    share: float
    version: str
    items: Mapping[str, int]
    photos: Mapping[str, int]

    def to_bytes(self, channel: str) -> bytes:
        """Returns the object's content."""
        head = {
            "schema": SCHEMA,
            "channel": channel,
            "from": self.start.isoformat(timespec="seconds"),
            "to": self.stop.isoformat(timespec="seconds"),
            "share": self.share,
            "version": self.version,
        }
        lines = [
            head,
            *({"item_id": key, "count": count} for key, count in sorted(self.items.items())),
            *({"photo": key, "count": count} for key, count in sorted(self.photos.items())),
        ]
        return "".join(json.dumps(line, ensure_ascii=True) + "\n" for line in lines).encode()

    @classmethod
    def parse(cls, data: bytes) -> Segment:
        """Reads the object.

        Raises:
            ValueError, KeyError, TypeError: It is not one.
        """
        head, *lines = [json.loads(line) for line in data.splitlines()]
        if head["schema"] != SCHEMA or not 0 < head["share"] <= 1:
            raise ValueError("another schema, or no share")
        items: dict[str, int] = {}
        photos: dict[str, int] = {}
        for line in lines:
            key, into = ("item_id", items) if "item_id" in line else ("photo", photos)
            if not isinstance(line["count"], int) or line["count"] < 0:
                raise ValueError("a count that is no count")
            into[str(line[key])] = line["count"]
        return cls(
            start=datetime.fromisoformat(head["from"]),
            stop=datetime.fromisoformat(head["to"]),
            share=float(head["share"]),
            version=str(head["version"]),
            items=items,
            photos=photos,
        )


def write(store: ObjectStore, channel: str, segment: Segment) -> str:
    """Writes a segment under a new name; returns its key.

    Raises:
        LookalikeError: The store did not take it.
    """
    day = segment.stop.astimezone(UTC).strftime(_DAY)
    moment = segment.stop.astimezone(UTC).strftime("%H%M%S")
    key = f"queries/{check_channel(channel)}/{day}/{moment}-{uuid.uuid4().hex[:12]}.jsonl"
    store.write(key, segment.to_bytes(channel), if_generation=ABSENT)
    return key


def segments(
    store: ObjectStore, channel: str, *, days: int, today: datetime | None = None
) -> Iterator[Segment]:
    """Yields the segments of the newest days, oldest first; one that cannot be read is told of.

    Args:
        store: The registry's store.
        channel: The channel.
        days: How many days, today included.
        today: For tests.

    Raises:
        LookalikeError: The store cannot be read.
    """
    now = today or datetime.now(UTC)
    for back in range(days - 1, -1, -1):
        day = (now - timedelta(days=back)).strftime(_DAY)
        for info in store.list(f"queries/{check_channel(channel)}/{day}/"):
            data, _ = store.read(info.key)
            try:
                yield Segment.parse(data)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                logger.warning("%s: set aside, it is no segment of the log (%s)", info.key, error)


def estimated_queries(
    found: Iterator[Segment], *, half_life_days: float | None = None, now: datetime | None = None
) -> dict[str, float]:
    """Returns how often each item was asked about, all queries counted.

    Every count is divided by the share that was sampled (Horvitz and Thompson, JASA 1952), so
    that days with different shares add up.

    Args:
        found: The segments.
        half_life_days: A query so many days old counts half; None counts all alike.
        now: For tests.
    """
    moment = now or datetime.now(UTC)
    counts: defaultdict[str, float] = defaultdict(float)
    for segment in found:
        weight = 1.0 / segment.share
        if half_life_days is not None:
            age = max(0.0, (moment - segment.stop).total_seconds() / 86400)
            weight *= 0.5 ** (age / half_life_days)
        for item_id, count in segment.items.items():
            counts[item_id] += weight * count
    return dict(counts)


def traffic_weights(
    item_ids: list[str], queries: Mapping[str, float], *, smoothing: float
) -> dict[str, float]:
    """Returns the catalog's `traffic`: (queries + smoothing), divided by its mean over the items.

    So the weights have the mean 1, which is also what an item without a weight counts; and an item
    that nobody has asked about yet keeps a small one instead of never being measured.

    Args:
        item_ids: The catalog's items.
        queries: What `estimated_queries` returned; items that left the catalog are passed over.
        smoothing: Queries added to every item, more than 0.
    """
    raw = {item_id: queries.get(item_id, 0.0) + smoothing for item_id in item_ids}
    mean = sum(raw.values()) / max(1, len(raw))
    return {item_id: value / mean for item_id, value in raw.items()}
