"""From a plan and its labels to what is decided on, and to what forbids a pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from components.contracts.verdict import Check, Status
from components.human_eval.aggregate import Labels
from components.human_eval.config import GateConfig
from components.human_eval.decision import Component, Look
from components.human_eval.eprocess import checked_scores
from components.human_eval.plan import POOLED, WHOLE, Comparison, Draw, Plan
from components.human_eval.raters import SIMILAR
from components.human_eval.sampling import guarded_departments

# Raters who do well on golds and badly on live pairs know the golds; one may, a quarter may not.
_MOST_GOLD_SAVVY = 0.25
# Raters who all know the golds agree with each other: somebody must have called pairs dissimilar.
_LEAST_COMPARED = 0.5
# An anchor that has seen too few of today's queries says nothing about the others.
_LEAST_COVERAGE = 0.5


def completed_prefix(draws: Sequence[Draw], scores: Mapping[str, float]) -> tuple[float, ...]:
    """Returns the scores of the contiguous completed prefix of the recorded order.

    Pairs that are clearly irrelevant, or clearly similar, complete sooner than doubtful ones:
    counting whatever is complete would be counting by outcome.
    """
    prefix: list[float] = []
    for draw in draws:
        if any(task not in scores for task in draw.tasks):
            break
        slots = len(draw.tasks) + draw.empty
        prefix.append(sum(scores[task] for task in draw.tasks) / slots if slots else 0.0)
    return tuple(prefix)


def streams(plan: Plan, guarded: Sequence[str]) -> dict[str, list[Draw]]:
    """Returns the draws of the whole and of each guarded department, in the recorded order.

    A draw of the whole that falls into a department is as good for its stream as one drawn there.
    """
    found: dict[str, list[Draw]] = {WHOLE: [d for d in plan.draws if d.stream == WHOLE]}
    for name in guarded:
        found[name] = [draw for draw in plan.draws if draw.department == name]
    rest = [draw for draw in found[WHOLE] if draw.department not in guarded]
    if rest:
        found[POOLED] = rest
    return found


def components(plan: Plan, labels: Labels, config: GateConfig) -> list[Component]:
    """Returns all that must be shown: the whole, the departments, incumbent and anchor."""
    # The plan's own policy recorded its choice; another policy (production's) makes its own.
    guarded = (
        plan.guarded
        if config.digest == plan.policy_digest
        else guarded_departments(config, traffic=plan.traffic, products=plan.products)
    )
    # Each by itself: in the mean of a query's slots, or in a difference, a bad one could hide.
    checked_scores(list(labels.scores.values()))
    found: list[Component] = []
    for name, draws in streams(plan, guarded).items():
        whole = name == WHOLE
        threshold = (config.tau if whole else config.floor) + config.measurement_allowance
        scores = completed_prefix(draws, labels.scores)
        if whole and len(scores) < len(draws):
            scores = scores[: len(scores) // config.look_every * config.look_every]
        found.append(
            Component(
                "similarity" if whole else "department_similarity",
                "all" if whole else name,
                scores,
                threshold,
                len(draws),
                blocked="" if draws else "the plan has no query there",
            )
        )
    if plan.incumbent and config.non_inferiority:
        own = config.digest == plan.policy_digest
        found.append(
            _not_worse(
                "non_inferiority",
                "the incumbent",
                plan.comparisons,
                labels,
                config,
                churn=plan.churn,
                margin=plan.margin if own else config.margin,
            )
        )
    if plan.incumbent and config.anchor_required:
        found.append(_anchor(plan, labels, config))
    return found


def _anchor(plan: Plan, labels: Labels, config: GateConfig) -> Component:
    """Returns "the mean score is at most the margin below that of the best of 28 days"."""
    name, days, anchor = "anchor", config.anchor_days, plan.anchor

    def held(reason: str) -> Component:
        scale = 2 * config.anchor_margin
        return Component(name, "all", (), 0.5, 0, held=reason, scale=scale, offset=-scale)

    def blocked(reason: str) -> Component:
        return Component(name, "all", (), 0.5, 0, blocked=reason)

    if anchor is None:
        return blocked("no anchor is recorded; against yesterday alone quality drifts down unseen")
    if not anchor.version or anchor.manifest_digest == plan.incumbent_digest:
        which = (
            f"the incumbent is the best version of the last {days} days"
            if anchor.version
            else f"no other version passed in the last {days} days"
        )
        # What is not worse than the incumbent by the smaller margin is not so by the larger.
        if config.non_inferiority and plan.margin <= config.anchor_margin:
            return held(f"anchor: {which}, and the comparison with it is the stricter one")
        return blocked(f"{which}, and the candidate is not compared with it")
    if anchor.coverage < _LEAST_COVERAGE:
        return blocked(
            f"{anchor.version} is the best version of the last {days} days, but it has answered "
            f"only {anchor.coverage:.0%} of today's queries by traffic"
        )
    return _not_worse(
        name,
        f"{anchor.version}, the best of {days} days",
        anchor.comparisons,
        labels,
        config,
        churn=anchor.churn,
        margin=anchor.margin,
    )


def _not_worse(
    name: str,
    whom: str,
    comparisons: Sequence[Comparison],
    labels: Labels,
    config: GateConfig,
    *,
    churn: float | None,
    margin: float,
) -> Component:
    """Returns "the mean score is at most the margin below another system's".

    With churn chi (share of changed slots) the mean difference over all slots is chi E[d], d the
    difference of a changed slot; so the claim is E[d] > -delta / chi. Rater noise shrinks d by
    Youden's J, which would make passing easier: J delta stands in place of delta.
    """
    if churn is None:
        blocked = f"the answers of {whom} to the same queries are missing"
        return Component(name, "all", (), 0.5, 0, blocked=blocked)
    if churn <= margin:
        held = (
            f"{name.replace('_', ' ')}: {churn:.1%} of the result slots changed against {whom}, at "
            f"most the margin of {margin:.1%}: holds without a rating"
        )
        return Component(name, "all", (), 0.5, 0, held=held, scale=2 * margin, offset=-2 * margin)
    quality = min(labels.youden_bound or 0.0, config.most_youden)
    if quality < config.least_youden:
        blocked = "how far the labels can be trusted is not known yet"
        return Component(name, "all", (), 0.5, 0, blocked=blocked)
    differences: list[float] = []
    for comparison in comparisons:
        added = labels.scores.get(comparison.added) if comparison.added else 0.0
        removed = labels.scores.get(comparison.removed)
        if added is None or removed is None:
            break
        differences.append((added - removed + 1.0) / 2.0)
    return Component(
        name,
        "all",
        tuple(differences),
        (1.0 - quality * margin / churn) / 2.0,
        len(comparisons),
        scale=2.0 * churn,
        offset=-churn,
        blocked="" if comparisons else "the plan has no comparisons for this margin",
    )


def look(
    plan: Plan, labels: Labels, config: GateConfig, *, created: datetime, now: datetime
) -> Look:
    """Returns whether there may be a decision now."""
    draws = streams(plan, ())[WHOLE]
    queries = len(completed_prefix(draws, labels.scores))
    # What raters judged in the weeks before shows as well that they can be trusted.
    pairs = len(labels.scores) + labels.earlier
    deadline = ""
    if now - created > timedelta(hours=config.deadline_hours):
        deadline = f"the {config.deadline_hours:g} hours of the campaign are over"
    if queries < config.first_look_queries:
        reason = f"{queries} queries are complete, the first look is at {config.first_look_queries}"
    elif pairs < config.first_look_pairs:
        reason = f"{pairs} pairs are rated, the first look is at {config.first_look_pairs}"
    else:
        return Look(True, deadline=deadline)
    if not labels.needed:
        deadline = deadline or "the plan holds no more"
    return Look(False, reason, deadline)


def quality_checks(plan: Plan, labels: Labels, config: GateConfig) -> list[Check]:
    """Returns what must hold before a score is believed; ratings to come may mend it."""
    over = not labels.needed
    counted = [report for report in labels.raters if report.standing == "counted"]
    banned = [report for report in labels.raters if report.standing.startswith("banned")]
    savvy = [report for report in banned if report.standing == "banned_peers"]
    known = len(counted) + len(banned)
    positives = sum((gold.gold or 0) >= SIMILAR for gold in plan.golds)
    negatives = len(plan.golds) - positives
    total = sum(labels.counted.values())
    top = max(labels.counted.values(), default=0)
    top_share = top / total if total else 0.0
    banned_share = len(banned) / known if known else 0.0
    savvy_share = len(savvy) / (len(savvy) + len(counted)) if savvy else 0.0
    compared = sum(
        labels.counted.get(report.rater_id, 0)
        for report in counted
        if report.peer_youden is not None
    )
    compared_share = compared / total if total else 0.0
    unsure = len(labels.cant_tell) / len(labels.scores) if labels.scores else 0.0
    quality = min(labels.youden_bound or 0.0, config.most_youden)
    least = config.least_golds_a_side
    side = min(labels.gold_positives, labels.gold_negatives)
    # name, holds, beyond repair, observed, requirement, reason
    rules: list[tuple[str, bool, bool, float | None, str, str]] = [
        ("queries", bool(plan.draws), True, float(len(plan.draws)), ">= 1",
         f"{len(plan.draws)} queries are in the plan"),
        ("gold_pool",
         len(plan.golds) >= config.gold_pool and min(positives, negatives) * 2 >= max(
             positives, negatives), True, float(len(plan.golds)), f">= {config.gold_pool}",
         f"the pool holds {positives} positive and {negatives} negative golds"),
        ("golds_rated", side >= least, over, float(side), f">= {least}",
         f"{labels.gold_positives} positive and {labels.gold_negatives} negative golds have "
         f"{config.ratings_per_pair} counted ratings (crops of the query do not count)"),
        ("label_quality", quality >= config.least_youden, over, labels.youden_bound,
         f">= {config.least_youden:g}",
         "no gold has been answered yet" if labels.youden is None else
         f"the aggregated label's Youden index on golds is {labels.youden:.3f}, "
         f"at least {labels.youden_bound:.3f}"),
        ("raters", len(counted) >= config.least_raters, over, float(len(counted)),
         f">= {config.least_raters}", f"the labels of {len(counted)} raters count"),
        ("largest_rater_share", bool(total) and top_share <= config.most_rater_share, over,
         top_share, f"<= {config.most_rater_share:g}",
         f"the busiest rater gave {top_share:.1%} of the counted labels"),
        ("raters_banned", banned_share <= config.most_banned, over, banned_share,
         f"<= {config.most_banned:g}", f"{len(banned)} of {known} raters were banned"),
        ("golds_leaked", savvy_share <= _MOST_GOLD_SAVVY, over, savvy_share,
         f"<= {_MOST_GOLD_SAVVY:g}",
         f"raters who did well on golds and badly on live pairs: {len(savvy)}"),
        ("raters_compared", compared_share >= _LEAST_COMPARED, over, compared_share,
         f">= {_LEAST_COMPARED:g}",
         f"{compared_share:.0%} of the counted labels are by raters who could be compared with "
         "their peers on live pairs of both kinds"),
        ("cant_tell", unsure <= config.most_cant_tell, over, unsure,
         f"<= {config.most_cant_tell:g}", f"pairs that nobody could tell: {len(labels.cant_tell)}"),
    ]  # fmt: skip
    checks = []
    for name, holds, final, observed, requirement, reason in rules:
        status: Status = "pass" if holds else "fail" if final else "undecided"
        checks.append(Check(name, status, reason, observed=observed, requirement=requirement))
    return checks
