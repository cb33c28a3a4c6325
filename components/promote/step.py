"""From the pipeline's parameters and artifacts to the promotion."""

from __future__ import annotations

from pathlib import Path

from components.contracts.files import write_atomically, write_json
from components.promote.promote import promote_candidate

WHO = "pipeline"


def run(
    registry: str,
    channel: str,
    version: str,
    incumbent: str,
    offline: str,
    human: str,
    promotion: str,
    summary: str,
    *,
    reason: str,
) -> str:
    """Promotes the candidate if its verdicts allow it.

    Returns:
        `promoted`, `refused` or `unchanged`.
    """
    outcome = promote_candidate(
        registry=registry,
        channel=channel,
        version=version,
        expected_incumbent=None if incumbent == "none" else incumbent,
        who=WHO,
        why=reason,
    )
    write_json(
        Path(promotion) / "outcome.json",
        {
            "outcome": outcome.outcome,
            "reasons": list(outcome.reasons),
            "version": outcome.version,
            "previous": outcome.previous,
        },
    )
    reasons = "".join(f"- {text}\n" for text in outcome.reasons)
    write_atomically(
        Path(summary),
        f"## {outcome.outcome}: `{version}` on channel `{channel}`\n\n"
        f"Gates: offline {offline}, human {human}. Before: `{outcome.previous or 'nothing'}`.\n\n"
        f"{reasons}",
    )
    return outcome.outcome
