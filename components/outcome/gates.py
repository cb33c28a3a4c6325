"""From the two gates' words to the one that chooses the branch that people see.

Promotion does not hang on it: `promote` reads the verdicts from the registry and checks them
itself. A word that is not known counts as a refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from components.contracts.errors import LookalikeError
from components.contracts.verdict import Verdict, to_markdown
from components.registry.registry import Registry

Outcome = Literal["passed", "refused", "undecided"]
_SHOWN = 8


def combine(offline: str, human: str) -> Outcome:
    """Returns `passed` when both gates pass, `undecided` when only raters are missing."""
    if offline == human == "pass":
        return "passed"
    if offline == "pass" and human == "undecided":
        return "undecided"
    return "refused"


@dataclass(frozen=True)
class GatesRecord:
    """What the gates said, as the run's record keeps it.

    Attributes:
        outcome: `passed`, `refused` or `undecided`.
        version: The candidate.
        incumbent: What it was compared with; empty for nothing.
        offline: The offline verdict's status.
        human: The human verdict's status.
        reasons: Why it is not `passed`, or what there is to know, one sentence each.
    """

    outcome: Outcome
    version: str
    incumbent: str
    offline: str
    human: str
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "outcome": self.outcome,
            "version": self.version,
            "incumbent": self.incumbent,
            "offline": self.offline,
            "human": self.human,
            "reasons": list(self.reasons),
        }


def newest(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Returns the newest verdict of each gate, in the order of the gates."""
    latest = {verdict.gate: verdict for verdict in verdicts}
    order = {"offline": 0, "human": 1}
    return sorted(latest.values(), key=lambda verdict: order.get(verdict.gate, 2))


def settle(
    registry: Registry, *, version: str, incumbent: str, offline: str, human: str
) -> tuple[GatesRecord, list[Verdict]]:
    """Returns what the gates said and the verdicts behind it.

    A registry that cannot be read changes the reasons, not the outcome.
    """
    outcome = combine(offline, human)
    try:
        verdicts = newest(registry.verdicts(version))
    except LookalikeError as error:
        verdicts, trouble = [], [f"the verdicts cannot be read: {error}"]
    else:
        trouble = []
    reasons = [
        f"{verdict.gate}: {check.reason}" for verdict in verdicts for check in verdict.failures
    ]
    if outcome != "passed" and not reasons:
        reasons = [f"offline {offline}, human {human}"]
    return GatesRecord(outcome, version, incumbent, offline, human, (*trouble, *reasons)), verdicts


def to_note(record: GatesRecord, verdicts: Sequence[Verdict]) -> str:
    """Returns what the UI shows on the task: the outcome, then each verdict in full."""
    head = (
        f"# Gates {record.outcome}: `{record.version}`\n\n"
        f"Offline **{record.offline}**, human **{record.human}**; compared with "
        f"`{record.incumbent or 'nothing'}`.\n\n"
    )
    return head + "\n\n".join(to_markdown(verdict) for verdict in verdicts) + "\n"


def refusal_note(record: GatesRecord, *, registry: str, channel: str, live: str) -> str:
    """Returns why the candidate was refused, what shoppers see now, and where to look."""
    return (
        f"# Refused: `{record.version}`\n\n{_listed(record.reasons)}\n"
        f"Shoppers still see `{live or 'nothing'}` on channel `{channel}`.\n\n"
        "Look at the reports of *evaluate* and *human_eval*, then compare the two versions:\n\n"
        f"    lookalike index diff {live or 'BEFORE'} {record.version} --registry {registry}\n"
    )


def undecided_note(record: GatesRecord, *, registry: str, channel: str, live: str) -> str:
    """Returns what is missing and how to go on when it has come."""
    return (
        f"# Undecided: `{record.version}`\n\n{_listed(record.reasons)}\n"
        f"Nothing was promoted; shoppers still see `{live or 'nothing'}` on channel `{channel}`. "
        "When the raters have rated, judge the same candidate with the release pipeline; nothing "
        "is computed again:\n\n"
        f"    lookalike submit --pipeline release --set registry={registry} "
        f"--set channel={channel} --set version={record.version}\n\n"
        "On one machine: `lookalike run --pipeline release` with the same workspace.\n"
    )


def _listed(reasons: Sequence[str]) -> str:
    lines = [f"- {reason}" for reason in reasons[:_SHOWN]]
    if len(reasons) > _SHOWN:
        lines.append(f"- and {len(reasons) - _SHOWN} more, see the reports")
    return "".join(f"{line}\n" for line in lines)
