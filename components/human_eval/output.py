"""What a look at a campaign gives to people and programs: files, and what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.contracts.files import write_atomically, write_json
from components.human_eval.ratings import write_ratings
from components.human_eval.report import Findings, render


def waiting_notes(findings: Findings, registry: str) -> list[str]:
    """Returns what to do while raters are at it: the commands, ready to be pasted."""
    if findings.verdict.status != "undecided":
        return []
    campaign = findings.campaign
    target = f"--registry {registry} --channel {campaign.channel}"
    missing = sum(findings.labels.needed.values())
    return [
        f"Raters are asked: lookalike rate {target} --campaign {campaign.id}",
        f"At most {missing:,} ratings are still needed; rating stops as soon as the evidence "
        f"suffices. See how far it is: lookalike eval status {target}",
        f"When they have rated: lookalike eval judge {target} (or run the pipeline again, or the "
        "release pipeline).",
        f"A crowd vendor's file: lookalike eval export {target} --campaign {campaign.id} --what "
        "tasks, and then lookalike eval import.",
    ]


def summary_of(findings: Findings) -> dict[str, Any]:
    """Returns the figures for programs."""
    labels, plan, campaign = findings.labels, findings.plan, findings.campaign
    each = campaign.config.ratings_per_pair
    return {
        "status": findings.verdict.status,
        "production_status": findings.production.status,
        "simulated": findings.verdict.simulated,
        "campaign": campaign.id,
        "state": campaign.state.state,
        "queries": len(plan.draws),
        "comparisons": len(plan.comparisons),
        "anchor": plan.anchor.version if plan.anchor else "",
        "golds": len(plan.golds),
        "ratings": len(findings.ratings),
        "ratings_saved": len(labels.cached) * each,
        "pairs": len(labels.scores),
        "pairs_cached": len(labels.cached),
        "ratings_needed": sum(labels.needed.values()),
        "set_aside": dict(findings.set_aside),
        "rating_hours": findings.seconds / 3600,
        "youden": labels.youden,
        "youden_bound": labels.youden_bound,
        "krippendorff_alpha": labels.alpha,
        "churn": plan.churn,
        "refused_lately": plan.refused,
        "raters": {entry.rater_id: entry.standing for entry in labels.raters},
    }


def write_findings(findings: Findings, output: Path, report: Path | None = None) -> None:
    """Writes `verdict.json`, `production_verdict.json`, `ratings.csv` and `summary.json`.

    Args:
        findings: What a look gave.
        output: The folder.
        report: The HTML page; `report.html` in the folder when None.
    """
    write_ratings(output / "ratings.csv", findings.ratings)
    write_json(output / "production_verdict.json", findings.production.to_json())
    write_json(output / "summary.json", summary_of(findings))
    write_atomically(report or output / "report.html", render(findings, findings.campaign.config))
    # Last: whoever sees a verdict sees everything else.
    write_json(output / "verdict.json", findings.verdict.to_json())
