"""`lookalike eval status`, `judge` and `expire`: where a campaign stands, and its end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from components.human_eval.ask import read_outcomes
from components.human_eval.campaign import (
    NoCampaignError,
    campaign_ids,
    open_campaign,
    read_record,
)
from components.human_eval.conclude import expire_campaign, judge_campaign
from components.human_eval.output import summary_of, waiting_notes, write_findings
from components.human_eval.report import Findings
from components.registry import campaigns
from components.registry.channel import check_channel
from components.registry.registry import Registry
from pipelines.cli import eval_text
from pipelines.cli import index_text as text
from pipelines.cli.eval_options import chosen_campaign, with_campaign
from pipelines.cli.index_options import (
    answer,
    complete_channels,
    with_channel,
    with_reason,
    with_registry,
    with_who,
)

EXIT_REFUSED = 3


@click.command(epilog="Example: lookalike eval status --registry gs://shop-lookalike/registry")
@with_registry
@click.option("--channel", metavar="NAME", envvar="LOOKALIKE_CHANNEL", help="Only this channel.",
              shell_complete=complete_channels)  # fmt: skip
@with_campaign
@click.option("--all", "every", is_flag=True, help="List all campaigns, the youngest first.")
def status(
    registry: str, channel: str | None, campaign: str, version: str, every: bool, as_json: bool
) -> None:
    """Show what raters are at: progress, estimates with bounds; changes nothing."""
    bundles = Registry.open(registry)
    names = [check_channel(channel)] if channel else _channels(bundles)
    now = datetime.now(UTC)
    if every:
        rows = [row for name in names for row in _listed(bundles, name)]
        if as_json:
            answer({"campaigns": rows})
        elif rows:
            click.echo(_list_text(rows))
        else:
            click.echo("No campaign was ever published here.")
        return
    found: list[Findings] = []
    for name in names:
        try:
            opened = chosen_campaign(registry, name, campaign, version)
        except NoCampaignError:
            if channel:
                raise
            continue
        found.append(judge_campaign(opened, now=now, who="status", record=False))
    if as_json:
        answer({"campaigns": [eval_text.campaign_json(entry, now=now) for entry in found]})
    elif not found:
        click.echo("No campaign was ever published here.")
    else:
        shown = [eval_text.campaign_text(entry, now=now, registry=registry) for entry in found]
        click.echo("\n\n".join(shown))


def _channels(bundles: Registry) -> list[str]:
    """Returns the channels that have campaigns or point to something."""
    current = bundles.store.list("campaigns/", name="current.json")
    return sorted({*bundles.channels(), *(info.key.split("/")[1] for info in current)})


def _listed(bundles: Registry, channel: str) -> list[dict[str, Any]]:
    outcomes = {entry.campaign: entry for entry in read_outcomes(bundles.store, channel)}
    rows = []
    for name in campaign_ids(bundles.store, channel):
        record = read_record(bundles.store, channel, name)
        state = campaigns.read_state(bundles.store, channel, name)
        ended = outcomes.get(name)
        rows.append(
            {
                "channel": channel,
                "campaign": name,
                "version": record.binding.version,
                "incumbent": record.binding.incumbent,
                "created": record.created.isoformat(),
                "state": state.state,
                "status": state.status or "undecided",
                "similarity": ended.similarity if ended else None,
                "ratings": ended.ratings if ended else None,
                "ratings_saved": ended.saved if ended else None,
                "simulated": record.raters == "simulated",
                "why": state.why,
            }
        )
    return sorted(rows, key=lambda row: (row["created"], row["campaign"]), reverse=True)


def _list_text(rows: list[dict[str, Any]]) -> str:
    return text.table(
        ("version", "channel", "status", "state", "score", "ratings", "saved", "published"),
        [
            (
                row["version"],
                row["channel"],
                row["status"],
                row["state"],
                "" if row["similarity"] is None else f"{row['similarity']:.3f}",
                "" if row["ratings"] is None else f"{row['ratings']:,}",
                "" if row["ratings_saved"] is None else f"{row['ratings_saved']:,}",
                text.moment(row["created"]),
            )
            for row in rows
        ],
        right=("score", "ratings", "saved"),
    )


@click.command(
    epilog="Example: lookalike eval judge --registry R --channel prod --output judgement. "
    "Exit codes: 0 for pass and undecided, 3 for fail and expired; --json says which."
)
@with_registry
@with_channel
@with_who
@with_campaign
@click.option("--output", type=click.Path(path_type=Path),
              help="Folder that gets verdict.json, ratings.csv and report.html.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what the verdict would be; record nothing.")
def judge(
    registry: str,
    channel: str,
    who: str,
    campaign: str,
    version: str,
    output: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Judge a campaign by its files: pass, fail, undecided or expired.

    The same files give the same status and figures anywhere. A decision closes the campaign, and
    the verdict goes into the registry, where `promote` reads it.
    """
    opened = chosen_campaign(registry, channel, campaign, version)
    findings = judge_campaign(opened, now=datetime.now(UTC), who=who, record=not dry_run)
    verdict = findings.verdict
    if not dry_run:
        noted = (*waiting_notes(findings, registry), *verdict.notes)
        verdict = replace(verdict, notes=noted)
        Registry.open(registry).write_verdict(verdict)
        findings = replace(findings, verdict=verdict)
    if output is not None:
        write_findings(findings, output)
    if as_json:
        answer({"verdict": verdict.to_json(), "summary": summary_of(findings)})
    else:
        click.echo(eval_text.verdict_text(findings, verdict))
        if output is not None:
            click.echo(f"\nreport: {output / 'report.html'}")
    if verdict.status in ("fail", "expired"):
        raise SystemExit(EXIT_REFUSED)


@click.command(
    epilog="Example: lookalike eval expire --registry R --channel prod --reason 'wrong catalog'"
)
@with_registry
@with_channel
@with_reason
@with_campaign
def expire(
    registry: str,
    channel: str,
    reason: str,
    who: str,
    campaign: str,
    version: str,
    as_json: bool,
) -> None:
    """Close a campaign without a decision; its ratings are kept for later campaigns."""
    opened = chosen_campaign(registry, channel, campaign, version)
    before = opened.state
    findings = expire_campaign(opened, now=datetime.now(UTC), who=who, why=reason)
    Registry.open(registry).write_verdict(findings.verdict)
    state = open_campaign(opened.store, channel, opened.id).state
    if as_json:
        answer({"campaign": opened.id, "changed": not before.closed, **vars(state)})
    elif before.closed:
        click.echo(f"Nothing changed: {opened.id} is {before.state} since {before.at}.")
    else:
        click.echo(f"Closed: campaign {opened.id} about {opened.plan.version}.")
