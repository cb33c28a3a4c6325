"""From the pipeline's parameters and artifacts to the promotion."""

from __future__ import annotations

import sys
from pathlib import Path

from components.contracts import incumbent as incumbents
from components.contracts.files import write_atomically, write_json
from components.promote.promote import promote_candidate
from components.registry import events

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
        # Compared with nothing means that nothing may be live: a race must not skip the comparison.
        expected_incumbent=incumbents.version_of(incumbent),
        who=WHO,
        why=reason,
    )
    if outcome.move is not None:
        told = events.event(registry, channel, outcome.move)
        print(events.to_line(told), flush=True)
        if problem := events.announce(told):
            print(f"warning: {problem}", file=sys.stderr)
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
