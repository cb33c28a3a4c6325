"""What the `lookalike eval` commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from components.contracts.verdict import Check, Verdict
from components.human_eval.judge import status_words
from components.human_eval.report import Findings, decision
from pipelines.cli import index_text as text


def draft_text(value: Mapping[str, Any]) -> str:
    """Returns what a draft would ask of raters."""
    saved, most = value["ratings_saved"], value["ratings_at_most"]
    share = saved / (saved + most) if saved + most else 0.0
    against = value["incumbent"] or "nothing (no incumbent)"
    churn = value["churn"]
    pairs = [
        ("candidate", f"{value['version']} against {against}"),
        ("anchor", value["anchor"] or "none beside the incumbent"),
        ("changed", "unknown" if churn is None else f"{churn:.1%} of the result slots"),
        ("queries", f"{value['queries']:,} drawn ({value['sampling']}), "
         f"{value['comparisons']:,} comparisons, {value['golds']:,} golds"),
        ("pairs", f"{value['pairs']:,}, of which {value['pairs_cached']:,} were judged before"),
        ("ratings", f"{most:,} at most; rating stops as soon as the evidence suffices"),
        ("saved", f"{saved:,} ratings ({share:.0%}) by earlier judgements"),
        ("guarded", ", ".join(value["guarded"]) or "no department"),
    ]  # fmt: skip
    if value["refused_lately"]:
        pairs.append(("refused", f"{value['refused_lately']} campaigns in the last 30 days"))
    pairs += [("note", note) for note in value["notes"]]
    return text.fields(pairs)


def campaign_json(findings: Findings, *, now: datetime) -> dict[str, Any]:
    """Returns where a campaign stands, for programs."""
    campaign, labels, plan = findings.campaign, findings.labels, findings.plan
    deadline = campaign.created + timedelta(hours=campaign.config.deadline_hours)
    standing: dict[str, int] = {}
    for report in labels.raters:
        standing[report.standing] = standing.get(report.standing, 0) + 1
    return {
        "channel": campaign.channel,
        "campaign": campaign.id,
        "version": plan.version,
        "incumbent": plan.incumbent,
        "state": campaign.state.state,
        "status": findings.verdict.status,
        "why": campaign.state.why,
        "created": campaign.created.isoformat(),
        "deadline": deadline.isoformat(),
        "hours_left": 0.0
        if campaign.state.closed
        else max(0.0, round((deadline - now).total_seconds() / 3600, 2)),
        "simulated": findings.verdict.simulated,
        "ratings": len(findings.ratings),
        "ratings_saved": len(labels.cached) * campaign.config.ratings_per_pair,
        "ratings_needed_at_most": sum(labels.needed.values()),
        "pairs_judged": len(labels.scores),
        "pairs": len(plan.live),
        "raters": standing,
        "set_aside": dict(findings.set_aside),
        "checks": [
            {
                "name": check.name,
                "slice": check.slice,
                "status": check.status,
                "observed": check.observed,
                "lower": check.lower,
                "upper": check.upper,
                "requirement": check.requirement,
                "reason": check.reason,
            }
            for check in findings.verdict.checks
        ],
    }


def campaign_text(findings: Findings, *, now: datetime, registry: str) -> str:
    """Returns where a campaign stands, for a tired person."""
    value = campaign_json(findings, now=now)
    status = findings.verdict.status
    state = value["state"]
    head = (
        f"{value['channel']}: {text.styled(value['version'], 'strong')} "
        f"{text.styled(status, status)} ({status_words(status)})"
    )
    closed = findings.campaign.state.closed
    pairs = [
        ("campaign", f"{value['campaign']}, {state}"),
        ("against", value["incumbent"] or "nothing"),
        ("since", text.moment(value["created"])),
        ("ended" if closed else "ends",
         text.moment(findings.campaign.state.at) if closed
         else f"in {value['hours_left']:.1f} h, or when the evidence suffices"),
        ("judged", f"{value['pairs_judged']:,} of at most {value['pairs']:,} pairs; "
         f"{value['ratings']:,} ratings, {value['ratings_saved']:,} saved"),
        ("raters", ", ".join(f"{count} {name.replace('_', ' by ')}"
                             for name, count in sorted(value["raters"].items())) or "none yet"),
    ]  # fmt: skip
    if value["why"]:
        pairs.append(("why", value["why"]))
    if value["set_aside"]:
        listed = ", ".join(f"{n} {reason}" for reason, n in value["set_aside"].items())
        pairs.append(("set aside", listed.replace("_", " ")))
    if findings.verdict.simulated:
        pairs.append(("simulated", "YES: no person judged this"))
    lines = [head, text.fields(pairs), "", checks_table(findings.verdict.checks)]
    if not closed:
        target = f"--registry {registry} --channel {value['channel']}"
        lines += [
            "",
            text.fields(
                [("rate", f"lookalike rate {target}"), ("judge", f"lookalike eval judge {target}")]
            ),
        ]
    return "\n".join(lines)


def checks_table(checks: Sequence[Check]) -> str:
    """Returns the checks, those that have not passed first."""
    ordered = [check for check in checks if check.status != "pass"]
    ordered += [check for check in checks if check.status == "pass"]
    return text.table(
        ("check", "status", "seen", "bounds", "required", "why"),
        [
            (
                check.name if check.slice == "all" else f"{check.name}/{check.slice}",
                check.status,
                _number(check.observed),
                _bounds(check),
                check.requirement,
                "" if check.status == "pass" else check.reason,
            )
            for check in ordered
        ],
        right=("seen",),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _bounds(check: Check) -> str:
    if check.lower is None or check.upper is None:
        return ""
    return f"{check.lower:.3f}-{check.upper:.3f}"


def verdict_text(findings: Findings, verdict: Verdict) -> str:
    """Returns the decision and why in two sentences, then the checks."""
    status = verdict.status
    lines = [
        f"{text.styled(status.upper(), status)}: {verdict.version}",
        text.fields([("", decision(findings))], indent=0),
        "",
        checks_table(verdict.checks),
    ]
    if verdict.notes:
        lines += ["", text.bullets("notes", verdict.notes, wrap=True)]
    return "\n".join(lines)
