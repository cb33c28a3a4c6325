"""The gate: lets raters judge a candidate and says pass, fail, undecided or expired.

1. Open the campaign: draw the plan, or resume the one of the same candidate and incumbent.
2. Ask for ratings: simulated raters answer at once; people answer through files.
3. Read the ratings, set bad rows aside, judge the raters, aggregate.
4. Decide, and write the verdict, what the production defaults would say, and the report.

Nothing in the verdict hangs on the order of the ratings or on when they came: whoever has the
campaign's files recomputes it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from components.contracts.catalog import (
    ITEMS_FILE,
    QUERIES_FILE,
    TAXONOMY_FILE,
    Query,
    read_items,
    read_queries,
)
from components.contracts.errors import InputError
from components.contracts.files import write_atomically, write_json
from components.contracts.page import page
from components.contracts.taxonomy import Taxonomy
from components.contracts.verdict import Check, Verdict, combine, to_html
from components.human_eval.aggregate import Labels, aggregate
from components.human_eval.answers import CANDIDATE_FILE, INCUMBENT_FILE, Answer, read_answers
from components.human_eval.campaign import (
    RATINGS_FILE,
    TASKS_FILE,
    Campaign,
    open_campaign,
    record_outcome,
)
from components.human_eval.config import GateConfig
from components.human_eval.decision import Component, decide
from components.human_eval.evidence import components, look, quality_checks
from components.human_eval.pairs import Binding, Shop
from components.human_eval.plan import Plan
from components.human_eval.ratings import (
    Rating,
    Ratings,
    append_ratings,
    read_ratings,
    write_ratings,
)
from components.human_eval.report import Findings, render
from components.human_eval.sampling import draw_plan
from components.human_eval.simulated import Truth, run_panel

GATE = "human"
RATERS = ("simulated", "web", "none")
WRITER = "human_eval"
SIMULATED_NOTE = (
    "Simulated raters know the taxonomy: this exercises the machinery, not taste; no person judged."
)


def judge_candidate(
    *,
    evaluation: Path,
    checked: Path,
    version: str,
    manifest_digest: str,
    incumbent: str,
    incumbent_digest: str,
    raters: str,
    campaign: Path,
    config: GateConfig,
    output: Path,
    report: Path,
    campaign_uri: str = "",
) -> Verdict:
    """Judges one candidate by its recorded answers.

    Args:
        evaluation: The evaluate step's artifact with both systems' answers.
        checked: The catalog step's artifact.
        version: The candidate.
        manifest_digest: SHA-256 of its manifest.
        incumbent: What is live; empty when nothing is.
        incumbent_digest: SHA-256 of that manifest; empty when nothing is live.
        raters: `simulated`, `web` (people, through files) or `none`.
        campaign: The channel's campaigns; kept from run to run.
        config: The policy.
        output: Gets `verdict.json`, `production_verdict.json`, `ratings.csv` and `summary.json`.
        report: The HTML page.
        campaign_uri: What to call `campaign` in messages, when it is a copy of another place.

    Returns:
        The verdict of the `human` gate.

    Raises:
        InputError: An argument or an input file cannot be used.
    """
    if raters not in RATERS:
        raise InputError(f"raters: expected one of {', '.join(RATERS)}, received {raters!r}")
    binding = Binding(version, manifest_digest, incumbent, incumbent_digest)
    now = datetime.now(UTC)
    if raters == "none":
        return _switched_off(binding, config, output, report, now)
    shop = Shop(read_items(checked / ITEMS_FILE), Taxonomy.read(checked / TAXONOMY_FILE))
    queries = read_queries(checked / QUERIES_FILE) if (checked / QUERIES_FILE).exists() else []
    opened = open_campaign(
        campaign, binding, config, lambda: _draw(evaluation, binding, shop, queries, config),
        now=now,
    )  # fmt: skip
    tasks = [pair.task_id for pair in opened.plan.pairs]
    came = read_ratings(opened.ratings, tasks=tasks, allow_simulated=raters == "simulated")
    if raters == "simulated" and not opened.problems and not opened.superseded_by:
        truth = Truth.of(shop.items, queries, shop.taxonomy)
        append_ratings(opened.ratings, run_panel(opened.plan, truth, config, came.valid))
        # Through the file, as people's ratings come.
        came = read_ratings(opened.ratings, tasks=tasks, allow_simulated=True)
    labels = aggregate(opened.plan, came.valid, config)
    asked = _asked(opened, labels, raters, campaign_uri or os.fspath(campaign))
    verdict, parts = evaluate(opened, labels, config, now=now, notes=asked)
    verdict = replace(verdict, notes=(*verdict.notes, *_set_aside_notes(came)))
    production, _ = evaluate(opened, labels, GateConfig(), now=now, own=False)
    record_outcome(opened, verdict.status, now=now)
    findings = Findings(
        verdict=verdict,
        production=production,
        plan=opened.plan,
        labels=labels,
        components=parts,
        set_aside=came.counts(),
        ratings=len(came.valid),
        seconds=math.fsum(rating.seconds for rating in came.valid),
        directory=opened.directory,
    )
    _write(findings, came.valid, config, output, report)
    return verdict


def _draw(
    evaluation: Path, binding: Binding, shop: Shop, queries: Sequence[Query], config: GateConfig
) -> tuple[Plan, dict[str, str]]:
    def answers(path: Path) -> dict[str, Answer]:
        return read_answers(evaluation / path, kind=config.query_kind, results=config.results)

    candidate = answers(CANDIDATE_FILE)
    before = None
    if binding.incumbent and (evaluation / INCUMBENT_FILE).exists():
        before = answers(INCUMBENT_FILE) or None
    missing = [
        Answer(q.query_id, "shopper", q.image, q.content_hash, q.taxon_id, q.product_id, ())
        for q in queries
        if config.query_kind != "item" and q.query_id not in candidate
    ]
    return draw_plan(
        binding, candidate=candidate, incumbent=before, missing=missing, shop=shop, config=config
    )


def evaluate(
    campaign: Campaign,
    labels: Labels,
    config: GateConfig,
    *,
    now: datetime,
    own: bool = True,
    notes: Sequence[str] = (),
) -> tuple[Verdict, list[Component]]:
    """Returns the verdict of a policy on a campaign's labels, and what was decided on.

    Args:
        campaign: The campaign.
        labels: What its ratings say.
        config: The policy.
        now: The time, for the deadline.
        own: Whether it is the policy that the campaign is bound to.
        notes: Remarks to keep.
    """
    plan = campaign.plan
    parts = components(plan, labels, config)
    when = look(plan, labels, config, created=campaign.created, now=now)
    checks = [
        *decide(parts, alpha=config.alpha, look=when),
        *quality_checks(plan, labels, config),
    ]
    if own:
        checks.extend(Check("campaign", "fail", problem) for problem in campaign.problems)
    if campaign.superseded_by:
        reason = f"superseded by the newer candidate {campaign.superseded_by}"
        checks.append(Check("campaign", "expired", reason))
    kept = [*notes, *plan.notes]
    if plan.sampling == "census":
        kept.append(
            "Every query is judged once, in a random order recorded first: the queries stand for "
            "the shoppers' photos they were taken from, and the error guarantee is about those."
        )
    if campaign.refused:
        kept.append(
            "Campaigns of this channel that did not pass in the last 30 days: "
            f"{campaign.refused}. Who judges a borderline system again and again passes it sooner "
            "or later."
        )
    if labels.simulated:
        kept.append(SIMULATED_NOTE)
    return (
        Verdict(
            gate=GATE,
            status=combine(checks),
            version=plan.version,
            manifest_digest=plan.manifest_digest,
            incumbent=plan.incumbent,
            checks=tuple(checks),
            created=now.isoformat(timespec="seconds"),
            writer=WRITER,
            simulated=labels.simulated,
            notes=tuple(kept),
            parameters=config.to_json(),
        ),
        parts,
    )


def _asked(campaign: Campaign, labels: Labels, raters: str, place: str) -> list[str]:
    if raters != "web" or not labels.needed:
        return []
    missing = sum(labels.needed.values())
    folder = f"{place.rstrip('/')}/{campaign.directory.name}"
    return [
        f"{missing} ratings are missing: the tasks are in {folder}/{TASKS_FILE} (work by seat in "
        f"assignments.csv, Label Studio import in label_studio.json); put the columns "
        f"task_id,rater_id,grade,seconds into {folder}/{RATINGS_FILE} and run again."
    ]


def _set_aside_notes(ratings: Ratings) -> list[str]:
    counts = ratings.counts()
    if not counts:
        return []
    listed = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    return [f"Rows of the ratings file set aside: {listed}."]


def _switched_off(
    binding: Binding, config: GateConfig, output: Path, report: Path, now: datetime
) -> Verdict:
    reason = "human evaluation is switched off (raters=none): no ratings were asked for"
    verdict = Verdict(
        gate=GATE,
        status="undecided",
        version=binding.version,
        manifest_digest=binding.manifest_digest,
        incumbent=binding.incumbent,
        checks=(Check("ratings", "undecided", reason),),
        created=now.isoformat(timespec="seconds"),
        writer=WRITER,
        parameters=config.to_json(),
    )
    write_ratings(output / "ratings.csv", ())
    write_json(output / "production_verdict.json", verdict.to_json())
    write_json(output / "summary.json", {"ratings": 0, "status": verdict.status})
    write_atomically(report, page(f"Human evaluation of {verdict.version}", to_html(verdict)))
    write_json(output / "verdict.json", verdict.to_json())
    return verdict


def _write(
    findings: Findings,
    ratings: Sequence[Rating],
    config: GateConfig,
    output: Path,
    report: Path,
) -> None:
    labels, plan = findings.labels, findings.plan
    write_ratings(output / "ratings.csv", ratings)
    write_json(output / "production_verdict.json", findings.production.to_json())
    write_json(
        output / "summary.json",
        {
            "status": findings.verdict.status,
            "production_status": findings.production.status,
            "simulated": findings.verdict.simulated,
            "campaign": findings.directory.name,
            "queries": len(plan.draws),
            "comparisons": len(plan.comparisons),
            "golds": len(plan.golds),
            "ratings": findings.ratings,
            "pairs": len(labels.scores),
            "ratings_needed": sum(labels.needed.values()),
            "set_aside": findings.set_aside,
            "rating_hours": findings.seconds / 3600,
            "youden": labels.youden,
            "youden_bound": labels.youden_bound,
            "krippendorff_alpha": labels.alpha,
            "churn": plan.churn,
            "raters": {entry.rater_id: entry.standing for entry in labels.raters},
        },
    )
    write_atomically(report, render(findings, config))
    # Last: whoever sees a verdict sees everything else.
    write_json(output / "verdict.json", findings.verdict.to_json())
