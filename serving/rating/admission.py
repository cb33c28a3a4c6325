"""Which answers are taken: the form is ours, for this rater, of this campaign, and in time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from components.contracts.errors import LookalikeError
from components.contracts.files import sha256_bytes
from components.human_eval.rating_records import CORRECTION_WINDOW, Record, timestamp
from components.human_eval.ratings import CANT_TELL, GRADES
from serving.rating.links import BadTokenError, Secrets
from serving.rating.standing import BANNED, NOT_ADMITTED

# An answer to a page that is older than this is asked anew.
_STALE = timedelta(hours=12)
_MOST_SECONDS = 3600.0


class RefusedError(LookalikeError):
    """An answer that is not taken, with a reason to count by and one for the rater."""

    def __init__(self, reason: str, text: str) -> None:
        """Keeps the reason beside the text for people."""
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Form:
    """What a signed form says of itself.

    Attributes:
        campaign: The campaign that it was made in.
        task: The pair.
        revision: 0, or the number of the correction.
        issued: When it was made, in seconds since 1970.
    """

    campaign: str
    task: str
    revision: int
    issued: float


def read_form(keys: Secrets, token: str, rater_id: str) -> Form:
    """Returns what a form says, when it was made here and for this rater.

    Raises:
        RefusedError: It was not.
    """
    try:
        value = keys.verify("assignment", token)
        form = Form(str(value["k"]), str(value["t"]), int(value["v"]), float(value["i"]) / 1000)
        name = str(value["n"])
    except BadTokenError as error:
        raise RefusedError(error.reason, "this form is not one of ours; go on here") from None
    except (KeyError, TypeError, ValueError):
        raise RefusedError("tampered", "this form is not one of ours; go on here") from None
    if name != rater_id:
        raise RefusedError("tampered", "this form was made for somebody else")
    return form


def check_form(
    form: Form,
    grade: str,
    phase: str,
    *,
    campaign: str,
    tasks: Collection[str],
    open_now: bool,
    now: float,
) -> None:
    """Refuses an answer that may not be taken.

    Args:
        form: The form.
        grade: What was chosen.
        phase: Where the rater stands.
        campaign: The campaign that is open here.
        tasks: Its pairs.
        open_now: Whether its answers still count.
        now: Seconds since 1970.

    Raises:
        RefusedError: It may not; the first reason that holds.
    """
    checks = (
        (form.campaign != campaign, "other_campaign",
         "this pair belongs to a campaign that has ended; go on with this one"),
        (not open_now, "closed", "this campaign has ended; thank you"),
        (phase in (BANNED, NOT_ADMITTED), "banned", "your ratings are not taken any more"),
        (form.task not in tasks, "unknown_task", "this pair is not in the campaign"),
        (grade not in GRADES, "grade_out_of_range", "choose one of 0, 1, 2, 3 or can't tell"),
        (form.issued > now + 60, "out_of_clock_order",
         "this page seems to come from the future; go on here"),
        (now - form.issued > _STALE.total_seconds(), "stale",
         "this page was open for too long; go on here"),
    )  # fmt: skip
    for bad, reason, text in checks:
        if bad:
            raise RefusedError(reason, text)


def check_correction(form: Form, before: Record | None, *, now: float) -> None:
    """Refuses a correction of an answer that cannot be changed any more.

    Raises:
        RefusedError: There is no such answer, it was corrected before, or it is too late.
    """
    if before is None or before.revision not in (form.revision - 1, form.revision):
        raise RefusedError("doubled", "this answer was corrected before")
    if now - before_at(before) > CORRECTION_WINDOW.total_seconds():
        raise RefusedError("late_correction", "it is too late to change that answer")


def before_at(record: Record | None) -> float:
    """Returns when an answer was given, in seconds since 1970; 0 for none."""
    return datetime.fromisoformat(record.at).timestamp() if record is not None else 0.0


def record_of(
    form: Form, rater_id: str, grade: str, token: str, *, at: float, now: float
) -> Record:
    """Returns the record of an answer that was checked.

    Args:
        form: The form.
        rater_id: Who answers.
        grade: `0` to `3` or `cant_tell`.
        token: The form's, whose hash is kept.
        at: What counts as its time, in seconds since 1970.
        now: Seconds since 1970.
    """
    return Record(
        task_id=form.task,
        rater_id=rater_id,
        grade=None if grade == CANT_TELL else int(grade),
        seconds=min(max(0.0, now - form.issued), _MOST_SECONDS),
        at=timestamp(datetime.fromtimestamp(at, UTC)),
        campaign=form.campaign,
        source="simulated" if rater_id.startswith("simulated:") else "web",
        revision=form.revision,
        assignment=sha256_bytes(token.encode())[:16],
    )
