"""What raters have said before: the judgement cache across campaigns.

```
campaigns/<channel>/judgements/<guideline>/<campaign>.jsonl    written once, when a campaign ends
<campaign>/history.jsonl                                       what a new campaign took from there
```

A judgement is about two images under one version of the guidelines, whatever item, task or system
they belonged to. The copy in the campaign is bound to its plan: a campaign can be judged from its
own files alone. Older than the policy's days, nothing counts: raters and tastes change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from functools import cached_property

from components.contracts.errors import InputError
from components.contracts.files import sha256_bytes
from components.human_eval.plan import Pair
from components.human_eval.ratings import SIMULATED_PREFIX, Rating

GOLD_GRADES = (0, 1, 2, 3)
_EARLIER = "earlier:"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One rater's answer to one pair of images in an earlier campaign.

    Attributes:
        query: Content hash of the query's image, as far as file names hold it.
        result: The same of the result's image.
        stratum: The guarded department that the pair was judged in.
        side: `candidate` or `incumbent`.
        gold: The known grade, when the pair was a gold there.
        source: Where that gold came from; empty for a live pair.
        rater_id: Who.
        grade: 0 to 3; None for "can't tell".
        seconds: Time taken.
        at: When the campaign that asked for it was judged: ISO 8601 in UTC.
    """

    query: str
    result: str
    stratum: str
    side: str
    gold: int | None
    source: str
    rater_id: str
    grade: int | None
    seconds: float
    at: str

    @property
    def images(self) -> tuple[str, str]:
        """What the pair shows."""
        return self.query, self.result


_FIELDS = tuple(entry.name for entry in fields(Judgement))


def encode(judgements: Iterable[Judgement]) -> bytes:
    """Returns judgements as JSON lines, in one order whatever order they came in."""
    lines = sorted(
        json.dumps(asdict(entry), sort_keys=True, allow_nan=False, separators=(",", ":"))
        for entry in judgements
    )
    return "".join(f"{line}\n" for line in lines).encode()


def decode(data: bytes, *, source: str) -> list[Judgement]:
    """Reads what `encode` wrote.

    Raises:
        InputError: A line is no judgement: a cache that cannot be trusted saves nothing.
    """
    found = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            value = json.loads(line)
            entry = Judgement(**value)
        except (ValueError, TypeError) as error:
            raise InputError(f"{source}, line {number}: not a judgement ({error})") from None
        if entry.grade not in (None, *GOLD_GRADES) or entry.gold not in (None, *GOLD_GRADES):
            raise InputError(f"{source}, line {number}: a grade is out of range")
        found.append(entry)
    return found


def judgements_of(
    pairs: Sequence[Pair], ratings: Iterable[Rating], *, at: datetime
) -> list[Judgement]:
    """Returns a campaign's ratings as judgements for later campaigns.

    Args:
        pairs: The campaign's pairs.
        ratings: Counted ratings that came in during the campaign, no earlier ones.
        at: When the campaign was judged.
    """
    by_task = {pair.task_id: pair for pair in pairs}
    found = []
    for rating in ratings:
        pair = by_task[rating.task_id]
        found.append(
            Judgement(
                *pair.images,
                pair.stratum,
                pair.side,
                pair.gold,
                pair.source,
                rating.rater_id,
                rating.grade,
                round(rating.seconds, 2),
                at.isoformat(timespec="seconds"),
            )
        )
    return found


@dataclass(frozen=True)
class History:
    """The earlier judgements that a campaign is bound to.

    Attributes:
        judgements: In the order of `encode`, at most one a rater and pair of images.
        fitted_since: Raters' matrices are fitted on judgements from here on; None for all.
    """

    judgements: tuple[Judgement, ...] = ()
    fitted_since: datetime | None = None

    @classmethod
    def recent(
        cls,
        judgements: Iterable[Judgement],
        *,
        now: datetime,
        live_days: int,
        gold_days: int,
        simulated: bool,
    ) -> History:
        """Returns what is young enough to count.

        Args:
            judgements: Everything on record.
            now: The time.
            live_days: How long a judgement on a live pair counts.
            gold_days: How long an answer to a gold counts.
            simulated: Whether simulated raters' judgements count.
        """
        newest: dict[tuple[str, str, str], Judgement] = {}
        for entry in judgements:
            days = live_days if entry.gold is None else gold_days
            age = now - datetime.fromisoformat(entry.at)
            if not timedelta(0) <= age <= timedelta(days=days):
                continue
            if entry.rater_id.startswith(SIMULATED_PREFIX) and not simulated:
                continue
            key = (*entry.images, entry.rater_id)
            # A pair that was rated again counts by its newest answers.
            if key not in newest or newest[key].at < entry.at:
                newest[key] = entry
        return cls.decode(
            encode(newest.values()), source="history", fitted_since=cls.since(now, live_days)
        )

    @classmethod
    def decode(cls, data: bytes, *, source: str, fitted_since: datetime | None) -> History:
        """Reads a campaign's copy."""
        return cls(tuple(decode(data, source=source)), fitted_since)

    @staticmethod
    def since(now: datetime, days: int) -> datetime:
        """Returns from when on judgements teach how raters err."""
        return now - timedelta(days=days)

    def encode(self) -> bytes:
        """Returns the copy that goes into a campaign."""
        return encode(self.judgements)

    @cached_property
    def by_images(self) -> Mapping[tuple[str, str], tuple[Judgement, ...]]:
        """The judgements of each pair of images."""
        found: dict[tuple[str, str], list[Judgement]] = {}
        for entry in self.judgements:
            found.setdefault(entry.images, []).append(entry)
        return {key: tuple(entries) for key, entries in found.items()}

    def covers(self, images: tuple[str, str], *, ratings: int) -> bool:
        """Whether a live pair has so many judgements that none needs to be asked for.

        They come from one and the same campaign: a mixture of two would not be what either raters
        had to say, and where somebody could not tell, two more were asked.
        """
        entries = [entry for entry in self.by_images.get(images, ()) if entry.gold is None]
        if not entries:
            return False
        latest = max(entry.at for entry in entries)
        return sum(entry.at == latest for entry in entries) >= ratings

    def agreed(self, raters: int) -> dict[tuple[str, str], int]:
        """Returns live pairs on which so many raters agreed, with their grade: checked golds.

        Every one of them said similar or better (the middle grade counts), or every one said less.
        Such a pair is as hard as live pairs are, which views of one product are not.
        """
        found: dict[tuple[str, str], int] = {}
        for images, entries in self.by_images.items():
            if any(entry.gold is not None or entry.grade is None for entry in entries):
                continue
            grades = sorted(entry.grade for entry in entries if entry.grade is not None)
            if len({entry.rater_id for entry in entries}) < raters:
                continue
            if grades[0] >= 2 or grades[-1] < 2:
                found[images] = grades[len(grades) // 2]
        return found


@dataclass(frozen=True)
class Evidence:
    """All that a campaign's labels are made of: its own pairs and ratings, and earlier ones.

    Attributes:
        pairs: The plan's pairs, then those that only the history holds (`is_earlier`).
        ratings: Own ratings first, then earlier ones under the task ids above.
        fitted: For each rating, whether the raters' matrices are fitted on it.
    """

    pairs: tuple[Pair, ...]
    ratings: tuple[Rating, ...]
    fitted: tuple[bool, ...]


def combine(pairs: Sequence[Pair], ratings: Sequence[Rating], history: History) -> Evidence:
    """Returns a campaign's pairs and ratings together with what the history says.

    Earlier ratings of a live pair count for it where the plan says so. Everything else in the
    history teaches how the raters err: as pairs of its own, which are in no result.

    Args:
        pairs: The plan's pairs.
        ratings: Valid ratings of them.
        history: Earlier judgements.
    """
    shown: dict[tuple[str, str], Pair] = {}
    for pair in pairs:
        if pair.gold is not None or pair.cached:
            shown[pair.images] = pair
    said = {(rating.task_id, rating.rater_id) for rating in ratings}
    extra: dict[tuple[str, str, int | None], Pair] = {}
    earlier: list[Rating] = []
    fitted = [True] * len(ratings)
    since = history.fitted_since
    for entry in history.judgements:
        known = shown.get(entry.images)
        if known is None or known.gold != entry.gold:
            key = (*entry.images, entry.gold)
            if key not in extra:
                name = sha256_bytes(f"{entry.query}:{entry.result}:{entry.gold}".encode())[:16]
                extra[key] = Pair(
                    f"{_EARLIER}{name}", "", "", entry.query, entry.result, entry.stratum,
                    entry.side, entry.gold, entry.source,
                )  # fmt: skip
            known = extra[key]
        if (known.task_id, entry.rater_id) not in said:
            said.add((known.task_id, entry.rater_id))
            earlier.append(Rating(known.task_id, entry.rater_id, entry.grade, entry.seconds))
            fitted.append(since is None or datetime.fromisoformat(entry.at) >= since)
    return Evidence((*pairs, *extra.values()), (*ratings, *earlier), tuple(fitted))


def is_earlier(task_id: str) -> bool:
    """Whether a pair is in the history alone and in no result that is judged now."""
    return task_id.startswith(_EARLIER)


def without(history: History, raters: Iterable[str]) -> History:
    """Returns a history without what some raters said: who is banned is banned backwards too."""
    gone = frozenset(raters)
    if not gone:
        return history
    return replace(
        history,
        judgements=tuple(entry for entry in history.judgements if entry.rater_id not in gone),
    )
