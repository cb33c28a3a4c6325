"""What a new campaign takes from the earlier ones of its channel.

```
<campaign>/outcome.json     how a campaign ended, written once
<campaign>/answers.jsonl    what its candidate answered
```

From them come the judgements that need not be asked for again, the panel that is carried over, how
often the channel refused a candidate of late, and the anchor: the best version of the last weeks.
Against yesterday alone quality may drift down a margin a day, and nobody sees it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta

from components.contracts.errors import InputError
from components.human_eval.answers import Answer, Result
from components.human_eval.history import History
from components.human_eval.plan import Anchor, Plan


@dataclass(frozen=True)
class Outcome:
    """How a campaign ended.

    Attributes:
        campaign: Its id.
        version: The candidate.
        manifest_digest: SHA-256 of the candidate's manifest.
        status: `pass`, `fail` or `expired`.
        at: When, ISO 8601 in UTC.
        similarity: The mean score that was seen; None when nothing was judged.
        lower: Its lower bound.
        upper: Its upper bound.
        simulated: Whether no people judged it.
        ratings: Ratings that it took.
        saved: Ratings that earlier judgements spared.
    """

    campaign: str
    version: str
    manifest_digest: str
    status: str
    at: str
    similarity: float | None
    lower: float | None
    upper: float | None
    simulated: bool
    ratings: int
    saved: int

    def to_bytes(self) -> bytes:
        """Returns the object's content."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, source: str) -> Outcome:
        """Reads the object's content.

        Raises:
            InputError: It is no outcome.
        """
        try:
            value = json.loads(data)
            if set(value) != {entry.name for entry in fields(cls)}:
                raise InputError(f"{source}: not a campaign's outcome")
            outcome = cls(**value)
            datetime.fromisoformat(outcome.at)
        except (ValueError, TypeError) as error:
            raise InputError(f"{source}: not a campaign's outcome ({error})") from None
        return outcome


@dataclass(frozen=True)
class AnchorAnswers:
    """The best version of the last weeks, with what it answered.

    Attributes:
        anchor: The version; without churn and comparisons yet.
        answers: By query id: the content hash of the query's image and the result item ids.
    """

    anchor: Anchor
    answers: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)

    def for_queries(
        self, queries: Iterable[Answer], listed: Mapping[str, Result]
    ) -> dict[str, Answer]:
        """Returns the anchor's answers to today's queries, as far as it had the same photos.

        Args:
            queries: Today's queries.
            listed: What is sold today, by item id.
        """
        found: dict[str, Answer] = {}
        for query in queries:
            content_hash, items = self.answers.get(query.query_id, ("", ()))
            if content_hash == query.content_hash:
                found[query.query_id] = Answer(
                    query.query_id, query.kind, query.image, query.content_hash, query.taxon_id,
                    query.product_id,
                    tuple(listed.get(item, Result(item, "", "", "")) for item in items),
                )  # fmt: skip
        return found


@dataclass(frozen=True)
class Earlier:
    """What there is on record before a campaign.

    Attributes:
        history: Judgements that still count.
        panel: The plan of the last campaign; None for a panel of new draws.
        anchor: The anchor; None without one.
        refused: Campaigns that did not pass in the last weeks.
    """

    history: History = field(default_factory=History)
    panel: Plan | None = None
    anchor: AnchorAnswers | None = None
    refused: int = 0


def refused_of(outcomes: Iterable[Outcome], *, now: datetime, days: int) -> int:
    """Returns how many campaigns did not pass in the last `days` days."""
    return sum(entry.status != "pass" for entry in _recent(outcomes, now, days))


def best_of(
    outcomes: Iterable[Outcome],
    *,
    now: datetime,
    days: int,
    margin: float,
    simulated: bool,
    quarantined: Collection[str] = (),
) -> Anchor:
    """Returns the version with the best similarity among those that passed of late.

    Args:
        outcomes: How the channel's campaigns ended.
        now: The time.
        days: How far back to look.
        margin: How much worse the candidate may be.
        simulated: Whether simulated raters' campaigns count.
        quarantined: Versions that do not count.

    Returns:
        The anchor; without a version when no campaign passed.
    """
    fit = [
        entry
        for entry in _recent(outcomes, now, days)
        if entry.status == "pass"
        and entry.similarity is not None
        and (simulated or not entry.simulated)
        and entry.version not in quarantined
    ]
    if not fit:
        return Anchor(margin=margin)
    # Of equals the youngest: more of its results are still sold.
    best = max(fit, key=lambda entry: (entry.similarity or 0.0, entry.at, entry.campaign))
    return Anchor(best.version, best.manifest_digest, best.similarity, margin)


def _recent(outcomes: Iterable[Outcome], now: datetime, days: int) -> Sequence[Outcome]:
    return [
        entry
        for entry in outcomes
        if timedelta(0) <= now - datetime.fromisoformat(entry.at) <= timedelta(days=days)
    ]
