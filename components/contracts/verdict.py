"""What a gate says: one type for every gate, rendered the same way everywhere.

A verdict names the manifest digest that it judges and who wrote it. Nothing to check is a fail,
and so is a verdict that cannot be read: the gate fails closed.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from components.contracts.errors import InputError

Status = Literal["pass", "fail", "undecided", "expired"]
STATUSES: tuple[Status, ...] = get_args(Status)
SCHEMA = 1


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        name: What was measured, such as `leaf_precision_at_10`.
        status: The outcome of this check alone.
        reason: The outcome in words, for people.
        slice: Which part of the data, such as a department's id; `all` for everything.
        observed: The value seen; None when there is none.
        lower: Lower confidence bound of the value, where there is one.
        upper: Upper confidence bound of the value, where there is one.
        requirement: What was required, such as `>= 0.98`.
        incumbent: The incumbent's value on the same data, where there is one.
    """

    name: str
    status: Status
    reason: str
    slice: str = "all"
    observed: float | None = None
    lower: float | None = None
    upper: float | None = None
    requirement: str = ""
    incumbent: float | None = None

    def __post_init__(self) -> None:
        """Refuses what a reader could mistake: unknown statuses, NaN, a check without a reason."""
        if self.status not in STATUSES:
            raise InputError(
                f"check {self.name!r}: status {self.status!r}; expected {', '.join(STATUSES)}"
            )
        if not self.reason:
            raise InputError(f"check {self.name!r}: expected a reason in words, received nothing")
        for name in ("observed", "lower", "upper", "incumbent"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(f"check {self.name!r}: {name} is {value}; expected a number")


@dataclass(frozen=True)
class Verdict:
    """The outcome of a gate.

    Attributes:
        gate: `offline` or `human`.
        status: The whole outcome: see `combine`.
        version: The bundle's version.
        manifest_digest: SHA-256 of the bundle's manifest.json: what exactly was judged.
        incumbent: The version compared against; empty when there was none.
        checks: Everything that was checked, in the order a reader wants it.
        created: When it was written, ISO 8601 in UTC.
        writer: Who wrote it.
        simulated: Whether simulated ratings had any part in it.
        notes: Remarks for people, one sentence each.
        parameters: The thresholds and settings in force.
    """

    gate: str
    status: Status
    version: str
    manifest_digest: str
    incumbent: str
    checks: tuple[Check, ...]
    created: str
    writer: str
    simulated: bool = False
    notes: tuple[str, ...] = ()
    parameters: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, value: object, *, source: str = "verdict") -> Verdict:
        """Reads the JSON form.

        Raises:
            InputError: Anything is missing, unknown or of another schema. A status better than
                the checks allow is refused as well: a hand-edited verdict must not pass.
        """
        if not isinstance(value, dict):
            raise InputError(f"{source}: expected a JSON object, received {type(value).__name__}")
        if value.get("schema") != SCHEMA:
            raise InputError(
                f"{source}: expected schema {SCHEMA}, received {value.get('schema')!r}; "
                "a newer lookalike may have written it"
            )
        known = {entry.name for entry in fields(cls)}
        given = {key: entry for key, entry in value.items() if key != "schema"}
        unknown, missing = sorted(set(given) - known), sorted(known - set(given))
        if unknown or missing:
            raise InputError(
                f"{source}: not a verdict (unknown fields: {', '.join(unknown) or 'none'}; "
                f"missing: {', '.join(missing) or 'none'})"
            )
        try:
            checks = tuple(Check(**check) for check in given["checks"])
            verdict = cls(
                **{**given, "checks": checks, "notes": tuple(given["notes"])},
            )
        except (TypeError, ValueError) as error:
            raise InputError(f"{source}: not a verdict ({error})") from None
        if verdict.status not in STATUSES:
            raise InputError(f"{source}: status {verdict.status!r}; expected {', '.join(STATUSES)}")
        if verdict.status == "pass" and combine(checks) != "pass":
            raise InputError(f"{source}: says pass, but its own checks do not allow it")
        return verdict

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if check.status != "pass")

    def summary(self) -> str:
        """Returns one line: the status and why."""
        if not self.checks:
            return f"{self.gate}: {self.status} (nothing was checked)"
        if self.status == "pass":
            return f"{self.gate}: pass ({len(self.checks)} checks)"
        reasons = "; ".join(check.reason for check in self.failures[:3])
        more = len(self.failures) - 3
        tail = f"; and {more} more" if more > 0 else ""
        return f"{self.gate}: {self.status} ({reasons}{tail})"


def combine(checks: Sequence[Check]) -> Status:
    """Returns the status of a whole: the worst of its parts, and `fail` when there are none."""
    if not checks:
        return "fail"
    for status in ("fail", "expired", "undecided"):
        if any(check.status == status for check in checks):
            return status
    return "pass"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _interval(check: Check) -> str:
    if check.lower is None and check.upper is None:
        return ""
    return f"[{_number(check.lower) or '-∞'}, {_number(check.upper) or '∞'}]"


COLUMNS = ("status", "check", "slice", "observed", "bounds", "required", "incumbent", "reason")


def rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """Returns the checks as text cells under `COLUMNS`; every rendering starts here."""
    return [
        (
            check.status,
            check.name,
            check.slice,
            _number(check.observed),
            _interval(check),
            check.requirement,
            _number(check.incumbent),
            check.reason,
        )
        for check in verdict.checks
    ]


def to_markdown(verdict: Verdict) -> str:
    """Returns the verdict as Markdown."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    table = [line(COLUMNS), line("---" for _ in COLUMNS), *(line(row) for row in rows(verdict))]
    notes = [f"- {note}" for note in verdict.notes]
    simulated = ["", "**Simulated ratings: no person judged this.**"] if verdict.simulated else []
    return "\n".join(
        [
            f"## {verdict.gate}: {verdict.status}",
            "",
            f"Version `{verdict.version}` against "
            f"{f'`{verdict.incumbent}`' if verdict.incumbent else 'no incumbent'}.",
            *simulated,
            "",
            *table,
            "",
            *notes,
            "",
        ]
    )


# Without a heading above them, on a phone, these would not explain themselves.
_LABELLED = frozenset(COLUMNS) - {"status", "check", "reason"}


def _cell(column: str, text: str) -> str:
    label = f' data-label="{column}"' if column in _LABELLED else ""
    return f"<td{label}>{html.escape(text)}</td>"


def to_html(verdict: Verdict) -> str:
    """Returns the verdict as an HTML fragment; the page around it brings the style."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in COLUMNS)
    body = "".join(
        f'<tr class="{row[0]}">'
        + "".join(_cell(column, cell) for column, cell in zip(COLUMNS, row, strict=True))
        + "</tr>"
        for row in rows(verdict)
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in verdict.notes)
    simulated = (
        '<p class="simulated">Simulated ratings: no person judged this.</p>'
        if verdict.simulated
        else ""
    )
    incumbent = html.escape(verdict.incumbent) or "no incumbent"
    return (
        f'<section class="verdict {verdict.status}"><h2>{html.escape(verdict.gate)}: '
        f"{verdict.status}</h2><p>Version <code>{html.escape(verdict.version)}</code> against "
        f"<code>{incumbent}</code>.</p>{simulated}"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"</div><ul>{notes}</ul></section>"
    )


def to_text(verdict: Verdict) -> str:
    """Returns the verdict for a terminal: one line a check, the failures first."""
    marks = {"pass": "✓", "fail": "✗", "undecided": "?", "expired": "⌛"}
    ordered = [*verdict.failures, *(check for check in verdict.checks if check.status == "pass")]
    lines = [f"{marks[verdict.status]} {verdict.gate}: {verdict.status}"]
    lines.extend(f"  {marks[check.status]} {check.reason}" for check in ordered)
    lines.extend(f"  {note}" for note in verdict.notes)
    return "\n".join(lines)


def to_metrics(verdict: Verdict) -> dict[str, float]:
    """Returns the observed values by name and slice, for the pipeline's metrics."""
    return {
        check.name if check.slice == "all" else f"{check.name}/{check.slice}": check.observed
        for check in verdict.checks
        if check.observed is not None
    }
