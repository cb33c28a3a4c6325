"""Where a rater and a campaign stand: the words and figures that pages show."""

from __future__ import annotations

from dataclasses import dataclass

from components.human_eval.raters import RaterReport

# Phases of a rater.
QUALIFYING, LIVE, NOT_ADMITTED, BANNED, DONE = (
    "qualifying",
    "live",
    "not admitted",
    "banned",
    "done",
)


@dataclass(frozen=True)
class Progress:
    """How far a rater and the campaign are.

    Attributes:
        phase: `qualifying`, `live`, `not admitted`, `banned` or `done`.
        qualified: Golds answered of this attempt.
        qualification: Golds of an attempt.
        attempt: 1; 2 for who tries again; 0 for who has qualified in an earlier campaign.
        rated: Answers to live work, hidden golds among them: nobody is told which these are.
        complete: Live pairs that need no more ratings.
        pairs: Live pairs.
        stretch_s: Seconds since this rater's last longer pause.
    """

    phase: str
    qualified: int
    qualification: int
    attempt: int
    rated: int
    complete: int
    pairs: int
    stretch_s: float


@dataclass(frozen=True)
class Totals:
    """What the owner's page counts.

    Attributes:
        complete: Live pairs that need no more ratings.
        pairs: Live pairs.
        given: Answers so far.
        needed: Counted ratings that live pairs still need, should all of them be rated.
        wanted: Counted ratings that the pairs given out next still need; 0 when all is decided.
        short: Raters who are missing: with those there are, the last pairs cannot be rated.
        reports: What the newest comparison of the raters said.
        set_aside: Records that do not count, by reason.
    """

    complete: int
    pairs: int
    given: int
    needed: int
    wanted: int
    short: int
    reports: tuple[RaterReport, ...]
    set_aside: dict[str, int]
