"""One answer of one rater as it is kept: a small JSON object, and which of them count.

A record is never changed. An answer that its rater corrects within a short window is followed by a
record with the next revision; both are kept, the later one counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from components.contracts.errors import SetAsideError
from components.contracts.files import sha256_bytes
from components.human_eval.ratings import (
    CANT_TELL,
    GRADES,
    SIMULATED_PREFIX,
    Rating,
    Ratings,
    SetAside,
)

SCHEMA = 1
CORRECTION_WINDOW = timedelta(minutes=2)
MOST_REVISIONS = 20
# Two machines' clocks differ; a record within this of the campaign's start or of now is in order.
CLOCK_SKEW = timedelta(minutes=5)
_LONGEST = {"task_id": 200, "rater_id": 200, "campaign": 200, "source": 60, "assignment": 200}
_FIELDS = frozenset(
    (*_LONGEST, "schema", "grade", "seconds", "at", "revision", "simulated")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """One answer of one rater.

    Attributes:
        task_id: The pair of images.
        rater_id: Who; ids that start with `simulated:` are no people.
        grade: 0 unrelated, 1 related, 2 similar, 3 the same product; None for "can't tell".
        seconds: Time taken.
        at: When it was acknowledged: ISO 8601 in UTC.
        campaign: The campaign that it belongs to.
        source: What took it: `web`, `simulated`, `csv`, `label_studio`.
        revision: 0 for the answer, 1 for its first correction, and so on.
        assignment: What the work was issued as; empty where nothing was.
    """

    task_id: str
    rater_id: str
    grade: int | None
    seconds: float
    at: str
    campaign: str
    source: str
    revision: int = 0
    assignment: str = ""

    @property
    def simulated(self) -> bool:
        """Whether no person gave this answer."""
        return self.rater_id.startswith(SIMULATED_PREFIX)

    @property
    def name(self) -> str:
        """What the object is called: the same for the same task, rater and revision."""
        return record_name(self.task_id, self.rater_id, self.revision)

    def rating(self) -> Rating:
        """Returns what the gate counts."""
        return Rating(self.task_id, self.rater_id, self.grade, self.seconds)

    def to_bytes(self) -> bytes:
        """Returns the object's content: one line of JSON."""
        value = {
            "assignment": self.assignment,
            "at": self.at,
            "campaign": self.campaign,
            "grade": CANT_TELL if self.grade is None else str(self.grade),
            "rater_id": self.rater_id,
            "revision": self.revision,
            "schema": SCHEMA,
            "seconds": round(self.seconds, 2),
            "simulated": self.simulated,
            "source": self.source,
            "task_id": self.task_id,
        }
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()

    @classmethod
    def of(
        cls, rating: Rating, *, campaign: str, source: str, at: datetime, assignment: str = ""
    ) -> Record:
        """Returns a rating's first record."""
        return cls(
            rating.task_id,
            rating.rater_id,
            rating.grade,
            rating.seconds,
            timestamp(at),
            campaign,
            source,
            assignment=assignment,
        )


def timestamp(when: datetime) -> str:
    """Returns a time as records hold it: UTC, with milliseconds."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds")


def record_name(task_id: str, rater_id: str, revision: int) -> str:
    """Returns the name of an answer's object; nobody reads a rater's name from it."""
    answer = sha256_bytes(f"{task_id}\0{rater_id}".encode())[:32]
    return f"{answer}-{revision}"


def parse_record(data: bytes) -> Record:
    """Reads one record.

    Raises:
        SetAsideError: It cannot count; the reason says why: `truncated`, `malformed`,
            `grade_out_of_range`, `seconds_out_of_range`, `no_rater`, `bad_time`, `marks_disagree`.
    """
    try:
        # Decoded here: json would guess the encoding of each record, at half the cost of parsing.
        value = json.loads(data.decode())
    except ValueError as error:
        # A record ends with its brace: what does not was cut off.
        whole = data.rstrip().endswith(b"}")
        raise SetAsideError("malformed" if whole else "truncated", str(error)) from None
    if not isinstance(value, dict) or value.get("schema") != SCHEMA or set(value) != _FIELDS:
        raise SetAsideError("malformed", "not a rating of schema 1")
    for name, longest in _LONGEST.items():
        text = value[name]
        if not isinstance(text, str) or len(text) > longest or not text.isprintable():
            reason = "no_rater" if name == "rater_id" else "malformed"
            raise SetAsideError(reason, f"{name}: expected text of up to {longest} characters")
    if not value["rater_id"]:
        raise SetAsideError("no_rater", "rater_id is empty")
    revision = value["revision"]
    if type(revision) is not int or not 0 <= revision < MOST_REVISIONS:
        raise SetAsideError("malformed", f"revision: expected 0 to {MOST_REVISIONS - 1}")
    grade = value["grade"]
    if not isinstance(grade, str) or grade not in GRADES:
        raise SetAsideError("grade_out_of_range", f"grade {str(grade)[:20]!r}")
    seconds = value["seconds"]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise SetAsideError("seconds_out_of_range", "seconds: expected a number")
    if not (math.isfinite(seconds) and 0.0 <= seconds < 1e6):
        raise SetAsideError("seconds_out_of_range", f"seconds {seconds!r}")
    record = Record(
        value["task_id"],
        value["rater_id"],
        None if grade == CANT_TELL else int(grade),
        float(seconds),
        _checked_time(value["at"]),
        value["campaign"],
        value["source"],
        revision,
        value["assignment"],
    )
    if value["simulated"] is not record.simulated:
        raise SetAsideError("marks_disagree", "the mark of a simulated rater is not the id's")
    return record


def _checked_time(value: Any) -> str:
    try:
        when = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise SetAsideError("bad_time", "at: expected a time as of ISO 8601") from None
    if when.utcoffset() is None:
        raise SetAsideError("bad_time", "at: expected a time with its zone")
    return str(value)


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored object or line: a record, or why there is none.

    Attributes:
        name: Where it lies, relative to the campaign's ratings.
        record: What it says; None when it cannot be read.
        reason: A stable short word to count by; empty for a record.
        detail: What is wrong, shortened.
        count: How many records this stands for: a damaged segment holds many.
    """

    name: str
    record: Record | None
    reason: str = ""
    detail: str = ""
    count: int = 1


def read_entry(name: str, data: bytes) -> Entry:
    """Returns what an object or a line holds; one that cannot count says why."""
    try:
        return Entry(name, parse_record(data))
    except SetAsideError as error:
        return Entry(name, None, error.reason, str(error)[:100])


def countable(
    entries: Iterable[Entry],
    *,
    campaign: str,
    tasks: Collection[str],
    banned: Collection[str] = (),
    allow_simulated: bool = False,
    created: datetime | None = None,
    now: datetime | None = None,
) -> Ratings:
    """Returns the ratings that count and, with reasons, the records that do not.

    Of two records with one task, rater and revision the first counts (`doubled`). A correction
    replaces the answer before it (`corrected`) when it came within `CORRECTION_WINDOW`
    (`late_correction`) and not before it (`out_of_clock_order`).

    Args:
        entries: As the log holds them.
        campaign: The campaign's id: records of another are set aside.
        tasks: The campaign's task ids.
        banned: Raters whom the campaign's owner has banned.
        allow_simulated: Whether simulated raters may take part.
        created: When the campaign began; nothing is older.
        now: Nothing is younger.
    """
    known, barred = frozenset(tasks), frozenset(banned)
    earliest = created - CLOCK_SKEW if created else None
    latest = now + CLOCK_SKEW if now else None
    answers: dict[tuple[str, str], dict[int, tuple[int, Record]]] = {}
    aside: list[SetAside] = []
    for row, entry in enumerate(entries, start=1):
        record = entry.record
        if record is None:
            aside.extend(
                [SetAside(row, entry.reason, f"{entry.name}: {entry.detail}")] * entry.count
            )
            continue
        when = datetime.fromisoformat(record.at)
        reason = ""
        if record.campaign != campaign:
            reason = "other_campaign"
        elif record.task_id not in known:
            reason = "unknown_task"
        elif record.rater_id in barred:
            reason = "banned"
        elif record.simulated and not allow_simulated:
            reason = "simulated"
        elif (earliest and when < earliest) or (latest and when > latest):
            reason = "out_of_clock_order"
        else:
            mine = answers.setdefault((record.task_id, record.rater_id), {})
            if record.revision in mine:
                reason = "doubled"
            else:
                mine[record.revision] = (row, record)
        if reason:
            aside.append(SetAside(row, reason, entry.name))
    valid: dict[tuple[str, str], Rating] = {}
    for key, revisions in answers.items():
        kept = _last_word(revisions, aside)
        valid[key] = kept.rating()
    aside.sort(key=lambda entry: entry.row)
    return Ratings(tuple(valid[key] for key in sorted(valid)), tuple(aside))


def _last_word(revisions: Mapping[int, tuple[int, Record]], aside: list[SetAside]) -> Record:
    """Returns the answer that counts among one rater's revisions of one answer."""
    ordered = [revisions[number] for number in sorted(revisions)]
    kept_row, kept = ordered[0]
    for row, record in ordered[1:]:
        gap = datetime.fromisoformat(record.at) - datetime.fromisoformat(kept.at)
        if gap < timedelta(0):
            aside.append(SetAside(row, "out_of_clock_order", record.name))
        elif gap > CORRECTION_WINDOW:
            aside.append(SetAside(row, "late_correction", record.name))
        else:
            aside.append(SetAside(kept_row, "corrected", kept.name))
            kept_row, kept = row, record
    return kept
