"""Ratings from a crowd vendor: CSV and Label Studio files into the campaign's log, and out of it.

What cannot count is set aside with its reason, counted, and kept on record with the import, written
once under `<campaign>/imports/`. The same file again adds nothing.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from components.contracts.errors import InputError
from components.contracts.files import sha256_bytes
from components.human_eval.campaign import Campaign
from components.human_eval.label_studio import read_annotations, tasks_of
from components.human_eval.owner_actions import read_actions
from components.human_eval.rating_log import RatingLog
from components.human_eval.rating_records import CLOCK_SKEW, Record
from components.human_eval.ratings import COLUMNS, Rating, Ratings, parse_line, parse_ratings
from components.registry.backoff import Backoff, write_once

Format = Literal["csv", "label-studio"]
FORMATS: tuple[Format, ...] = ("csv", "label-studio")
FOLDER = "imports/"


@dataclass(frozen=True)
class Import:
    """What became of a file.

    Attributes:
        source: The file's name.
        sha256: Of its bytes.
        rows: Rows or annotations in it.
        added: Ratings that are in the log now and were not before.
        known: Ratings that were there already, the same.
        set_aside: What does not count, by reason.
        who: Who imported it.
        at: When, ISO 8601 in UTC.
    """

    source: str
    sha256: str
    rows: int
    added: int
    known: int
    set_aside: Mapping[str, int]
    who: str
    at: str


def read_file(
    data: bytes, kind: Format, campaign: Campaign, *, source: str
) -> tuple[Ratings, dict[tuple[str, str], datetime]]:
    """Reads a vendor's file; what cannot count is set aside with its reason.

    Args:
        data: The file.
        kind: `csv` or `label-studio`.
        campaign: The campaign that it should be about.
        source: The file's name, for messages.

    Returns:
        The ratings, and when each was given, as far as the file says so.

    Raises:
        InputError: It is no such file.
    """
    tasks = frozenset(pair.task_id for pair in campaign.plan.pairs)
    banned = frozenset(read_actions(campaign.store, campaign.prefix).banned)
    simulated = campaign.record.raters == "simulated"
    if kind == "csv":
        return (
            parse_ratings(
                data, source=source, tasks=tasks, banned=banned, allow_simulated=simulated
            ),
            {},
        )
    lines: list[str] = []
    times: list[datetime | None] = []
    for entry in read_annotations(data, source=source):
        seconds = "" if entry["seconds"] is None else f"{entry['seconds']:.2f}"
        cells = [entry["task_id"], entry["rater_id"], entry["grade"], seconds]
        lines.append(",".join(cell.replace(",", " ").replace("\n", " ") for cell in cells))
        times.append(entry["at"])
    found = parse_ratings(
        "\n".join([",".join(COLUMNS), *lines]).encode(), source=source, tasks=tasks,
        banned=banned, allow_simulated=simulated,
    )  # fmt: skip
    by_key: dict[tuple[str, str], datetime] = {}
    for line, at in zip(lines, times, strict=True):
        parsed = parse_line(line, tasks, banned, allow_simulated=simulated)
        if at is not None and isinstance(parsed, Rating):
            by_key.setdefault((parsed.task_id, parsed.rater_id), at)
    return found, by_key


def import_ratings(
    campaign: Campaign, data: bytes, kind: Format, *, source: str, who: str, now: datetime
) -> Import:
    """Adds a vendor's ratings to the campaign's log.

    Raises:
        InputError: It is no such file, or the campaign is closed: nothing counts any more.
    """
    if campaign.state.closed:
        raise InputError(
            f"campaign {campaign.id}: {campaign.state.state} since {campaign.state.at}; "
            "no rating counts any more"
        )
    found, times = read_file(data, kind, campaign, source=source)
    aside = Counter(found.counts())
    log = RatingLog(campaign.store, campaign.prefix)
    present = {
        (entry.record.task_id, entry.record.rater_id): entry.record.grade
        for entry in log.read()
        if entry.record is not None
    }
    fresh: list[Record] = []
    known = 0
    for rating in found.valid:
        key = (rating.task_id, rating.rater_id)
        at = times.get(key, now)
        if key in present:
            if present[key] == rating.grade:
                known += 1
            else:
                aside["doubled"] += 1
        elif not campaign.created - CLOCK_SKEW <= at <= now + CLOCK_SKEW:
            aside["out_of_clock_order"] += 1
        else:
            name = kind.replace("-", "_")
            fresh.append(Record.of(rating, campaign=campaign.id, source=name, at=at))
    added = log.append_many(fresh)
    outcome = Import(
        source.rpartition("/")[2], sha256_bytes(data), len(found.valid) + len(found.set_aside),
        added, known, dict(sorted(aside.items())), who, now.isoformat(timespec="seconds"),
    )  # fmt: skip
    _keep(campaign, outcome)
    return outcome


def _keep(campaign: Campaign, outcome: Import) -> None:
    data = (json.dumps(asdict(outcome), indent=1, sort_keys=True) + "\n").encode()
    key = f"{campaign.prefix}{FOLDER}{sha256_bytes(data)[:16]}.json"
    write_once(campaign.store, key, data, Backoff())


def read_imports(campaign: Campaign) -> list[Import]:
    """Returns what was imported, the earliest first; a record that cannot be read is left to stand.

    Raises:
        InputError: A record is no import.
    """
    found = []
    for info in campaign.store.list(f"{campaign.prefix}{FOLDER}"):
        try:
            found.append(Import(**json.loads(campaign.store.read(info.key)[0])))
        except (ValueError, TypeError) as error:
            raise InputError(f"{info.key}: not an import's record ({error})") from None
    return sorted(found, key=lambda entry: (entry.at, entry.sha256))


def export_ratings(ratings: Sequence[Rating], kind: Format, campaign: Campaign) -> bytes:
    """Returns counted ratings as CSV, or as Label Studio's JSON with annotations."""
    if kind == "csv":
        text = io.StringIO()
        text.write(",".join(COLUMNS) + "\n")
        for rating in ratings:
            text.write(f"{rating.task_id},{rating.rater_id},{rating.word},{rating.seconds:.2f}\n")
        return text.getvalue().encode()
    by_task: dict[str, list[Rating]] = {}
    for rating in ratings:
        by_task.setdefault(rating.task_id, []).append(rating)
    tasks = json.loads(tasks_of(campaign.plan))
    for task in tasks:
        task["annotations"] = [
            {
                "completed_by": {"email": rating.rater_id},
                "lead_time": rating.seconds,
                "was_cancelled": False,
                "result": [
                    {
                        "from_name": "grade", "to_name": "result", "type": "choices",
                        "value": {"choices": [rating.word]},
                    }
                ],
            }
            for rating in by_task.get(task["data"]["task_id"], ())
        ]  # fmt: skip
    return (json.dumps(tasks, indent=1) + "\n").encode()


def export_tasks(kind: Format, campaign: Campaign, *, images: str = "") -> bytes:
    """Returns the tasks as raters may see them: CSV, or Label Studio's import."""
    if kind == "label-studio":
        return tasks_of(campaign.plan, images=images).encode()
    start = f"{images.rstrip('/')}/" if images else ""
    lines = ["task_id,query_image,result_image"]
    lines += [
        f"{record['task_id']},{start}{record['query_image']},{start}{record['result_image']}"
        for record in campaign.plan.rater_view()
    ]
    return ("\n".join(lines) + "\n").encode()
