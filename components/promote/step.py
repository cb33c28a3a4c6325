"""From the pipeline's parameters and artifacts to the promotion."""

from __future__ import annotations

import sys
from pathlib import Path

from components.contracts import incumbent as incumbents
from components.contracts.files import write_atomically, write_json
from components.promote.promote import promote_candidate
from components.promote.report import headline, render
from components.registry import events, run_log
from components.registry.registry import Registry

WHO = "pipeline"


def run(
    registry: str,
    channel: str,
    version: str,
    incumbent: str,
    offline: str,
    human: str,
    run_id: str,
    promotion: str,
    summary: str,
    report: str,
    *,
    reason: str,
) -> str:
    """Promotes the candidate if its verdicts allow it, and keeps what came of it.

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
    value = {
        "outcome": outcome.outcome,
        "reasons": list(outcome.reasons),
        "version": outcome.version,
        "previous": outcome.previous,
    }
    write_json(Path(promotion) / "outcome.json", value)
    opened = Registry.open(registry)
    run_log.record(opened.store, run_id, "promotion", value)
    reasons = "".join(f"- {text}\n" for text in outcome.reasons)
    write_atomically(
        Path(summary),
        f"## {headline(outcome, channel)}\n\n"
        f"Gates: offline {offline}, human {human}. Before: `{outcome.previous or 'nothing'}`.\n\n"
        f"{reasons}",
    )
    # The newest of each gate, as the promotion itself took them.
    latest = {verdict.gate: verdict for verdict in opened.verdicts(version)}
    page = render(opened, outcome, channel=channel, verdicts=list(latest.values()))
    write_atomically(Path(report), page)
    return outcome.outcome
