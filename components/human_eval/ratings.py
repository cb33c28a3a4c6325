"""Ratings as they come: a CSV file `task_id,rater_id,grade,seconds`, bad rows set aside.

A bad row never changes the verdict: it is counted by its reason and left out. The lines are parsed
one by one without multi-line quotes, so that a stray quote in one row cannot swallow the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from components.contracts.errors import InputError
from components.contracts.files import write_atomically

COLUMNS = ("task_id", "rater_id", "grade", "seconds")
CANT_TELL = "cant_tell"
GRADES = ("0", "1", "2", "3", CANT_TELL)
SIMULATED_PREFIX = "simulated:"
_LONGEST_ID = 200


@dataclass(frozen=True)
class Rating:
    """One answer of one rater.

    Attributes:
        task_id: The pair of images.
        rater_id: Who; ids that start with `simulated:` are no people.
        grade: 0 unrelated, 1 related, 2 similar, 3 the same product; None for "can't tell".
        seconds: Time taken.
    """

    task_id: str
    rater_id: str
    grade: int | None
    seconds: float

    @property
    def simulated(self) -> bool:
        """Whether no person gave this answer."""
        return self.rater_id.startswith(SIMULATED_PREFIX)

    @property
    def word(self) -> str:
        """The grade as files write it."""
        return CANT_TELL if self.grade is None else str(self.grade)


@dataclass(frozen=True)
class SetAside:
    """One row that does not count.

    Attributes:
        row: Where it stands (the header is row 1).
        reason: A stable short word to count by.
        detail: The row's text, shortened.
    """

    row: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Ratings:
    """What a file held.

    Attributes:
        valid: Ratings that may count, sorted by task and rater, at most one each.
        set_aside: Rows that do not, in file order.
    """

    valid: tuple[Rating, ...] = ()
    set_aside: tuple[SetAside, ...] = field(default=())

    def counts(self) -> dict[str, int]:
        """Returns how many rows were set aside, by reason."""
        return dict(sorted(Counter(entry.reason for entry in self.set_aside).items()))


def read_ratings(
    path: Path,
    *,
    tasks: Collection[str],
    banned: Collection[str] = (),
    allow_simulated: bool = False,
) -> Ratings:
    """Reads a ratings file; no file means no ratings yet. See `parse_ratings`."""
    if not path.exists():
        return Ratings()
    return parse_ratings(
        path.read_bytes(),
        source=str(path),
        tasks=tasks,
        banned=banned,
        allow_simulated=allow_simulated,
    )


def parse_ratings(
    data: bytes,
    *,
    source: str,
    tasks: Collection[str],
    banned: Collection[str] = (),
    allow_simulated: bool = False,
) -> Ratings:
    """Reads the bytes of a ratings file.

    Of two answers by one rater to one task the first in the file counts: an answer cannot be
    improved afterwards.

    Args:
        data: The CSV file.
        source: Its name, for messages.
        tasks: The campaign's task ids.
        banned: Raters whom the campaign's owner has banned.
        allow_simulated: Whether simulated raters may take part.

    Raises:
        InputError: The header is not that of a ratings file.
    """
    lines = data.decode("utf-8-sig", errors="replace").split("\n")
    header = tuple(_cells(lines[0]))
    if header != COLUMNS:
        raise InputError(
            f"{source}: expected the columns {','.join(COLUMNS)}, received {lines[0][:100]!r}"
        )
    known, barred = frozenset(tasks), frozenset(banned)
    valid: dict[tuple[str, str], Rating] = {}
    aside: list[SetAside] = []
    for row, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        answer = parse_line(line, known, barred, allow_simulated=allow_simulated)
        if isinstance(answer, Rating) and (answer.task_id, answer.rater_id) in valid:
            answer = "doubled"
        if isinstance(answer, Rating):
            valid[answer.task_id, answer.rater_id] = answer
        else:
            aside.append(SetAside(row, answer, line[:100].rstrip("\r")))
    return Ratings(tuple(valid[key] for key in sorted(valid)), tuple(aside))


def _cells(line: str) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in line.split(",")]


def parse_line(
    line: str, tasks: frozenset[str], banned: frozenset[str], *, allow_simulated: bool
) -> Rating | str:
    """Returns the rating, or why the row is set aside."""
    cells = _cells(line)
    if len(cells) < len(COLUMNS):
        return "truncated"
    if len(cells) > len(COLUMNS):
        return "malformed"
    task_id, rater_id, grade, seconds = cells
    try:
        taken = float(seconds)
    except ValueError:
        return "truncated" if not seconds else "seconds_not_a_number"
    checks = (
        (task_id not in tasks, "unknown_task"),
        (not rater_id or len(rater_id) > _LONGEST_ID or not rater_id.isprintable(), "no_rater"),
        (grade not in GRADES, "grade_out_of_range"),
        # The comparison is false for NaN as well.
        (not 0.0 <= taken < 1e6, "seconds_out_of_range"),
        (rater_id in banned, "banned"),
        (rater_id.startswith(SIMULATED_PREFIX) and not allow_simulated, "simulated"),
    )
    for bad, reason in checks:
        if bad:
            return reason
    return Rating(task_id, rater_id, None if grade == CANT_TELL else int(grade), taken)


def write_ratings(path: Path, ratings: Iterable[Rating]) -> None:
    """Writes ratings atomically in the order given."""
    write_atomically(path, "\n".join([",".join(COLUMNS), *map(_line, ratings)]) + "\n")


def _line(rating: Rating) -> str:
    return f"{rating.task_id},{rating.rater_id},{rating.word},{rating.seconds:.2f}"
