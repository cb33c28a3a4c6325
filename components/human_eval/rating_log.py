"""A campaign's ratings in the registry's object store: no database, nothing lost, nothing twice.

```
campaigns/<channel>/<campaign>/ratings/new/<answer>-<revision>.json   one answer, written if absent
campaigns/<channel>/<campaign>/ratings/segments/<number>.jsonl        many answers, write-once
```

An answer is acknowledged when its object is written; its key comes from task, rater and revision,
so a repetition finds it there. Compaction copies answers into the next segment and only then
deletes their objects: killed at any moment it leaves an answer in both places, and identical
copies are one. A writer that was asleep while its key was compacted away is caught by looking for
a new segment after its write and before the acknowledgement.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from components.contracts.errors import LookalikeError
from components.contracts.files import sha256_bytes
from components.human_eval.rating_records import Entry, Record, countable, read_entry
from components.human_eval.rating_segments import FOLDER as SEGMENTS
from components.human_eval.rating_segments import (
    decode_segment,
    decode_segments,
    encode_segment,
    missing_segment,
    segment_key,
    segment_number,
)
from components.human_eval.ratings import Ratings
from components.registry.backoff import Backoff, write_once
from components.registry.object_store import ObjectNotFoundError, ObjectStore

NEW = "ratings/new/"
SEGMENT_RECORDS = 5000
COMPACT_FROM = 1000
_THREADS = 8


class DoubledError(LookalikeError):
    """The rater has answered this task differently before: the first answer stands."""

    def __init__(self, first: Record | None) -> None:
        """Keeps the answer that stands; None when its object cannot be read."""
        super().__init__("this rater has answered this task before; the first answer stands")
        self.first = first


class RatingLog:
    """The ratings of one campaign, followed from the store; safe among threads and replicas."""

    def __init__(self, store: ObjectStore, prefix: str, *, backoff: Backoff | None = None) -> None:
        """Opens the log without touching the store.

        Args:
            store: The registry's store.
            prefix: The campaign's, such as `campaigns/prod/1f2e.../`.
            backoff: How long a write is tried.
        """
        self._store = store
        self._prefix = prefix
        self._backoff = backoff or Backoff()
        # One follower at a time asks the store; the state itself is locked for moments only, so
        # that no answer waits for a listing.
        self._following = threading.RLock()
        self._state = threading.Lock()
        self._raw: dict[str, bytes] = {}  # The objects under `new/` that were seen, by key.
        self._known: dict[str, Record] = {}  # What stands, by `Record.name`.
        self._sealed: set[str] = set()  # The names among them that are in a segment.
        self._segments = 0
        self._last_sha256 = ""
        self._pending: list[Entry] = []

    def has_ratings(self) -> bool:
        """Returns whether anything was ever written here, readable or not."""
        return any(True for _ in self._store.list(f"{self._prefix}ratings/"))

    def read(self) -> list[Entry]:
        """Returns everything afresh: segments in order, then single answers; nothing is skipped.

        Of an answer that is in two places with the same content there is one entry.
        """
        # Single answers first: what is compacted between the two looks is then seen twice, and
        # not missed.
        singles = self._read_all(self._keys(NEW))
        segments = {
            number: data
            for key, data in self._read_all(self._keys(SEGMENTS)).items()
            if (number := segment_number(key)) is not None
        }
        entries: list[Entry] = []
        seen: dict[str, Record] = {}
        found = decode_segments(segments)
        found.extend(_single(key, singles[key]) for key in sorted(singles))
        for entry in found:
            if entry.record is not None:
                name = entry.record.name
                if seen.setdefault(name, entry.record) is not entry.record and (
                    seen[name] == entry.record
                ):
                    continue
            entries.append(entry)
        return entries

    def follow(self) -> list[Entry]:
        """Returns what came since the last call, whoever wrote it."""
        with self._following:
            listed = self._keys(NEW)
            with self._state:
                unseen = [key for key in listed if key not in self._raw]
            singles = self._read_all(unseen)
            self._follow_segments()
            with self._state:
                # What another replica has compacted away is not compacted again here.
                for key in set(self._raw).difference(listed):
                    if key.rpartition("/")[2].removesuffix(".json") in self._sealed:
                        del self._raw[key]
                for key in sorted(singles):
                    self._raw[key] = singles[key]
                    self._take(_single(key, singles[key]))
        with self._state:
            fresh, self._pending = self._pending, []
        return fresh

    def append(self, record: Record) -> Record:
        """Writes one answer; when this returns, it is kept.

        Returns:
            The record that stands: this one, or the same answer of another moment.

        Raises:
            DoubledError: The rater has given this task another answer under this revision.
            ObjectStoreError: The store does not take it; try again.
        """
        key = f"{self._prefix}{NEW}{record.name}.json"
        data = record.to_bytes()
        with self._state:
            stands = self._known.get(record.name)
        if stands is None and write_once(self._store, key, data, self._backoff):
            # Had a compaction taken an earlier answer of this name away, its segment would be
            # there by now.
            if self._segment_follows():
                with self._following:
                    self._follow_segments()
            with self._state:
                if key not in self._raw:
                    self._raw[key] = data
                    self._take(Entry(_short(key), record))
                stands = self._known[record.name]
        elif stands is None:
            stands = _single(key, self._store.read(key)[0]).record
        if stands is not None and stands.grade == record.grade:
            return stands
        raise DoubledError(stands)

    def append_many(self, records: Iterable[Record]) -> int:
        """Writes many answers at once, as segments: what a panel or an import brings.

        Answers that are there already are left out.

        Returns:
            How many were written.
        """
        with self._following:
            self._keep(self.follow())
            fresh: dict[str, Record] = {}
            for record in records:
                if record.name not in self._known:
                    fresh.setdefault(record.name, record)
            names = list(fresh)
            written = 0
            for start in range(0, len(names), SEGMENT_RECORDS):
                batch = {name: fresh[name] for name in names[start : start + SEGMENT_RECORDS]}
                written += self._seal(batch)
            return written

    def compact(self, *, least: int = COMPACT_FROM) -> int:
        """Moves single answers into a segment, when there are at least `least` of them.

        Objects that cannot be read, or that an earlier answer beats, stay where they are.

        Returns:
            How many objects were moved.
        """
        with self._following:
            self._keep(self.follow())
            with self._state:
                raw = dict(self._raw)
            if len(raw) < least:
                return 0
            records = {key: _single(key, data).record for key, data in sorted(raw.items())}
            moved = {
                key: record
                for key, record in records.items()
                if record is not None and self._known.get(record.name) == record
            }
            unsealed = {
                record.name: record for record in moved.values() if record.name not in self._sealed
            }
            names = list(unsealed)
            for start in range(0, len(names), SEGMENT_RECORDS):
                self._seal(
                    {name: unsealed[name] for name in names[start : start + SEGMENT_RECORDS]}
                )
        for key in moved:
            self._store.delete(key)
        with self._state:
            for key in moved:
                self._raw.pop(key, None)
        return len(moved)

    def _keep(self, entries: list[Entry]) -> None:
        """Leaves entries for the next `follow`."""
        with self._state:
            self._pending[:0] = entries

    def _keys(self, folder: str) -> list[str]:
        return [info.key for info in self._store.list(f"{self._prefix}{folder}")]

    def _read_all(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Returns the objects that are still there."""

        def read(key: str) -> tuple[str, bytes | None]:
            try:
                return key, self._store.read(key)[0]
            except ObjectNotFoundError:
                return key, None

        if len(keys) < 2:
            found = [read(key) for key in keys]
        else:
            with ThreadPoolExecutor(_THREADS) as pool:
                found = list(pool.map(read, keys))
        return {key: data for key, data in found if data is not None}

    def _segment_follows(self) -> bool:
        try:
            self._store.stat(self._prefix + segment_key(self._segments + 1))
        except ObjectNotFoundError:
            return False
        return True

    def _follow_segments(self) -> None:
        """Takes in the segments that are new; the caller holds `_following`."""
        numbers = {segment_number(key): key for key in self._keys(SEGMENTS)}
        new = {n: key for n, key in numbers.items() if n is not None and n > self._segments}
        contents = self._read_all(list(new.values()))
        for number in range(self._segments + 1, max(new, default=0) + 1):
            data = contents.get(new.get(number, ""))
            if data is None:
                entries = [missing_segment(number)]
            else:
                entries = decode_segment(data, number=number)
            with self._state:
                for entry in entries:
                    self._take(entry, sealed=True)
                self._segments = number
                self._last_sha256 = sha256_bytes(data) if data is not None else ""

    def _seal(self, records: dict[str, Record]) -> int:
        """Writes one segment of what no segment holds yet; the caller holds `_following`."""
        while True:
            fresh = {
                name: record
                for name, record in records.items()
                if name not in self._sealed and self._known.get(name, record) == record
            }
            if not fresh:
                return 0
            number = self._segments + 1
            data = encode_segment(
                [record.to_bytes() for record in fresh.values()],
                number=number,
                previous_sha256=self._last_sha256,
            )
            written = write_once(
                self._store, self._prefix + segment_key(number), data, self._backoff
            )
            # Whoever wrote this number, it is taken in; if it was another, ours gets the next.
            self._follow_segments()
            if written:
                return len(fresh)

    def _take(self, entry: Entry, *, sealed: bool = False) -> None:
        """Notes an entry; the caller holds `_state`."""
        record = entry.record
        if record is not None:
            stands = self._known.setdefault(record.name, record)
            if sealed and stands == record:
                self._sealed.add(record.name)
            if stands is not record and stands == record:
                return
        self._pending.append(entry)


def _short(key: str) -> str:
    return key.rpartition("ratings/")[2]


def _single(key: str, data: bytes) -> Entry:
    """Reads a single answer; its name must be that of its content, or a copy could double it."""
    entry = read_entry(_short(key), data)
    if entry.record is not None and not key.endswith(f"/{entry.record.name}.json"):
        return Entry(entry.name, None, "malformed", "its name is not that of its content")
    return entry


def gather(
    log: RatingLog,
    *,
    campaign: str,
    tasks: Collection[str],
    banned: Collection[str] = (),
    allow_simulated: bool = False,
    created: datetime | None = None,
    now: datetime | None = None,
) -> Ratings:
    """Reads a campaign's ratings: what counts, and what is set aside; see `countable`."""
    return countable(
        log.read(),
        campaign=campaign,
        tasks=tasks,
        banned=banned,
        allow_simulated=allow_simulated,
        created=created,
        now=now,
    )
