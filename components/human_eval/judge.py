"""Looks at a campaign: gathers its ratings, judges raters and pairs, and says where it stands.

Nothing in the verdict hangs on the order of the ratings, on when they were read or where: whoever
has the campaign's files recomputes it. What counts came in while the campaign ran, before its
deadline and before it was closed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from components.contracts.errors import LookalikeError
from components.contracts.verdict import Check, Status, Verdict, combine
from components.human_eval.aggregate import Labels, aggregate
from components.human_eval.campaign import Campaign
from components.human_eval.config import GateConfig
from components.human_eval.decision import Component, decide
from components.human_eval.evidence import components, look, quality_checks
from components.human_eval.exchange import read_imports
from components.human_eval.history import without
from components.human_eval.owner_actions import Actions, read_actions
from components.human_eval.rating_log import RatingLog
from components.human_eval.rating_records import Entry, countable
from components.human_eval.ratings import Ratings, SetAside
from components.human_eval.report import Findings
from components.registry import publish, swap
from components.registry.campaigns import DECIDED
from components.registry.object_store import ObjectNotFoundError

GATE = "human"
WRITER = "human_eval"
SIMULATED_NOTE = (
    "Simulated raters know the taxonomy: this exercises the machinery, not taste; no person judged."
)


def as_of(campaign: Campaign, now: datetime) -> datetime:
    """Returns the moment that the campaign is judged at: now, or when it was closed."""
    return datetime.fromisoformat(campaign.state.at) if campaign.state.closed else now


def gather_ratings(campaign: Campaign, *, now: datetime) -> tuple[Ratings, Actions]:
    """Returns the ratings that count, those set aside, and what the campaign's owner did.

    Args:
        campaign: The campaign.
        now: The time: nothing was rated later.
    """
    actions = read_actions(campaign.store, campaign.prefix)
    entries = RatingLog(campaign.store, campaign.prefix).read()
    deadline = campaign.created + timedelta(hours=campaign.config.deadline_hours)
    closed = as_of(campaign, now) if campaign.state.closed else None
    in_time: list[Entry] = []
    late: list[SetAside] = []
    for row, entry in enumerate(entries, start=1):
        when = datetime.fromisoformat(entry.record.at) if entry.record else None
        if when is not None and closed is not None and when > closed:
            late.append(SetAside(row, "after_closing", entry.name))
        elif when is not None and when > deadline:
            late.append(SetAside(row, "after_deadline", entry.name))
        else:
            in_time.append(entry)
    found = countable(
        in_time,
        campaign=campaign.id,
        tasks=[pair.task_id for pair in campaign.plan.pairs],
        banned=actions.banned,
        allow_simulated=campaign.record.raters == "simulated",
        created=campaign.created,
        now=as_of(campaign, now),
    )
    return Ratings(found.valid, (*found.set_aside, *late)), actions


def look_at(
    campaign: Campaign,
    *,
    now: datetime,
    problems: Sequence[str] = (),
    production: GateConfig | None = None,
) -> Findings:
    """Judges a campaign by its files alone; changes nothing.

    Args:
        campaign: The campaign.
        now: The time, for the deadline of one that runs.
        problems: Further reasons that it must not pass, one sentence each.
        production: The policy to compare with in the report; production's defaults when None.
    """
    ratings, actions = gather_ratings(campaign, now=now)
    config = campaign.config
    history = without(campaign.history, actions.banned)
    labels = aggregate(campaign.plan, ratings.valid, config, history, actions.extra)
    imported = _imported(campaign)
    notes = [
        *_set_aside_notes("Ratings set aside", Counter(ratings.counts())),
        *_set_aside_notes("Rows of imported files set aside", imported),
    ]
    judged = replace(campaign, problems=(*campaign.problems, *actions.problems, *problems))
    moment = as_of(campaign, now)
    verdict, parts = evaluate(judged, labels, config, now=moment, notes=notes)
    stricter, _ = evaluate(judged, labels, production or GateConfig(), now=moment, own=False)
    return Findings(
        campaign=judged,
        verdict=verdict,
        production=stricter,
        labels=labels,
        components=parts,
        set_aside=dict(sorted((Counter(ratings.counts()) + imported).items())),
        ratings=ratings.valid,
        seconds=math.fsum(rating.seconds for rating in ratings.valid),
        banned=dict(actions.banned),
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
    alpha = campaign.alpha if own else config.alpha
    checks = [*decide(parts, alpha=alpha, look=when), *quality_checks(plan, labels, config)]
    checks.extend(Check("campaign", "fail", problem) for problem in campaign.problems)
    checks.extend(_closed(campaign))
    kept = [*notes, *plan.notes, *_remarks(campaign, labels, alpha)]
    return (
        Verdict(
            gate=GATE,
            status=combine(checks),
            version=plan.version,
            manifest_digest=plan.manifest_digest,
            incumbent=plan.incumbent,
            checks=tuple(checks),
            created=now.isoformat(timespec="milliseconds"),
            writer=WRITER,
            simulated=labels.simulated,
            notes=tuple(kept),
            parameters={**config.to_json(), "campaign": campaign.id, "alpha_in_force": alpha},
        ),
        parts,
    )


def _closed(campaign: Campaign) -> list[Check]:
    """Returns why a campaign that was closed without a decision has expired."""
    state = campaign.state
    if state.closed and state.state != DECIDED and state.why:
        return [Check("campaign", "expired", state.why)]
    return []


def _remarks(campaign: Campaign, labels: Labels, alpha: float) -> list[str]:
    plan = campaign.plan
    kept = []
    if plan.sampling == "census":
        kept.append(
            "Every query is judged once, in a random order recorded first: the queries stand for "
            "the shoppers' photos they were taken from, and the error guarantee is about those."
        )
    kept.append(
        f"Campaigns of this channel that did not pass in the {campaign.config.refused_days} days "
        f"before this one: {plan.refused}."
        + (
            " Who judges a borderline system again and again passes it sooner or later."
            if plan.refused
            else ""
        )
        + (
            f" So alpha, {campaign.config.alpha:g}, is divided: {alpha:.4g}."
            if alpha < campaign.config.alpha
            else ""
        )
    )
    if labels.cached:
        spared = len(labels.cached) * campaign.config.ratings_per_pair
        kept.append(
            f"Judgements of the last {campaign.config.history_days} days cover "
            f"{len(labels.cached):,} of the {len(labels.scores):,} judged pairs and spared "
            f"{spared:,} ratings."
        )
    if labels.simulated:
        kept.append(SIMULATED_NOTE)
    return kept


def _imported(campaign: Campaign) -> Counter[str]:
    counts: Counter[str] = Counter()
    for entry in read_imports(campaign):
        counts.update(entry.set_aside)
    return counts


def _set_aside_notes(what: str, counts: Counter[str]) -> list[str]:
    if not counts:
        return []
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return [f"{what}: {listed}."]


def binding_problems(campaign: Campaign) -> tuple[list[str], str]:
    """Returns what has changed about candidate and incumbent since the plan was recorded.

    Returns:
        Why it must not pass, one sentence each; and why it has expired, empty when it has not.
        A copy of a campaign in a place without bundles and channels is judged as it stands.
    """
    plan, store = campaign.plan, campaign.store
    problems = []
    for version, digest, who in (
        (plan.version, plan.manifest_digest, "candidate"),
        (plan.incumbent, plan.incumbent_digest, "incumbent"),
    ):
        if not version:
            continue
        try:
            store.stat(publish.bundle_key(version))
        except ObjectNotFoundError:
            continue
        try:
            found = publish.read_manifest(store, version)[1]
        except LookalikeError as error:
            problems.append(f"the {who}'s bundle cannot be read: {error}")
            continue
        if found != digest:
            problems.append(
                f"the {who}'s bundle is not the one that the plan is about: its manifest is "
                f"{found[:12]}..., the plan names {digest[:12]}..."
            )
    if campaign.state.closed:
        return problems, ""
    state = swap.read_state(store, campaign.channel)
    if state.generation and state.live not in (plan.incumbent, plan.version):
        return problems, (
            f"{state.live or 'nothing'} is live now, but {plan.version} is compared with "
            f"{plan.incumbent or 'nothing'}"
        )
    return problems, ""


def status_words(status: Status) -> str:
    """Returns what a status means for the candidate, for people."""
    return {
        "pass": "may go live",
        "fail": "must not go live",
        "undecided": "raters are at it",
        "expired": "ended without a decision",
    }[status]


def missing_ratings(labels: Labels, tasks: Iterable[str] | None = None) -> int:
    """Returns how many ratings are still needed: of all that is planned, or of some tasks."""
    chosen = labels.needed if tasks is None else tasks
    return sum(labels.needed.get(task, 0) for task in chosen)
