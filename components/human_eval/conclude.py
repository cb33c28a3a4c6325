"""What a look at a campaign leaves behind: its state, and, when it ends, what later ones need."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from components.human_eval.campaign import OUTCOME_FILE, Campaign, open_campaign
from components.human_eval.earlier import Outcome
from components.human_eval.history import encode, judgements_of
from components.human_eval.judge import as_of, binding_problems, look_at
from components.human_eval.report import Findings
from components.registry import campaigns
from components.registry.backoff import Backoff, write_once
from components.registry.campaigns import EXPIRED, campaign_prefix


def judge_campaign(
    campaign: Campaign,
    *,
    now: datetime,
    who: str,
    record: bool = True,
    problems: Sequence[str] = (),
) -> Findings:
    """Looks at a campaign, closes it when there is a decision, and keeps what it has taught.

    A campaign whose files or bundles are not those that were recorded fails and stays open: the
    fault is not the candidate's, and mending the files mends it.

    Args:
        campaign: The campaign.
        now: The time.
        who: The person or pipeline that looks.
        record: Whether to change anything; without, it is only said what would be.
        problems: Further reasons that it must not pass.
    """
    broken, changed = binding_problems(campaign)
    if changed and record:
        campaigns.close(
            campaign.store, campaign.channel, campaign.id, state=EXPIRED, at=now, who=who,
            why=changed,
        )  # fmt: skip
        campaign = open_campaign(campaign.store, campaign.channel, campaign.id)
    findings = look_at(campaign, now=now, problems=[*broken, *problems])
    if record and not findings.campaign.problems:
        if not campaign.state.closed:
            campaigns.note_look(
                campaign.store, campaign.channel, campaign.id, findings.verdict.status,
                at=as_of(campaign, now), backoff=Backoff(),
            )  # fmt: skip
        if findings.verdict.status != "undecided":
            keep(findings)
    return findings


def expire_campaign(campaign: Campaign, *, now: datetime, who: str, why: str) -> Findings:
    """Closes a campaign without a decision and keeps what its raters have said."""
    campaigns.close(
        campaign.store, campaign.channel, campaign.id, state=EXPIRED, at=now, who=who,
        why=f"closed by {who}: {why}",
    )  # fmt: skip
    closed = open_campaign(campaign.store, campaign.channel, campaign.id)
    findings = look_at(closed, now=now)
    if not closed.problems:
        keep(findings)
    return findings


def keep(findings: Findings) -> None:
    """Writes a closed campaign's judgements and outcome, once; killed between, it is done again."""
    campaign, labels, verdict = findings.campaign, findings.labels, findings.verdict
    counted = {report.rater_id for report in labels.raters if report.standing == "counted"}
    at = datetime.fromisoformat(verdict.created)
    said = [rating for rating in findings.ratings if rating.rater_id in counted]
    backoff = Backoff()
    write_once(
        campaign.store,
        f"{judgements_prefix(campaign.channel, campaign.plan.guideline)}{campaign.id}.jsonl",
        encode(judgements_of(campaign.plan.pairs, said, at=at)),
        backoff,
    )
    whole = next((check for check in verdict.checks if check.name == "similarity"), None)
    outcome = Outcome(
        campaign=campaign.id,
        version=verdict.version,
        manifest_digest=verdict.manifest_digest,
        status=verdict.status,
        at=verdict.created,
        similarity=whole.observed if whole else None,
        lower=whole.lower if whole else None,
        upper=whole.upper if whole else None,
        simulated=verdict.simulated,
        ratings=len(findings.ratings),
        saved=len(labels.cached) * campaign.config.ratings_per_pair,
    )
    write_once(campaign.store, campaign.prefix + OUTCOME_FILE, outcome.to_bytes(), backoff)


def judgements_prefix(channel: str, guideline: str) -> str:
    """Returns where a channel keeps its judgements under one version of the guidelines."""
    return f"{campaign_prefix(channel)}judgements/{guideline}/"
