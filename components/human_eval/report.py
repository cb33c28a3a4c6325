"""The report: one page; a manager reads the top of it, an engineer or an auditor the rest."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from components.contracts.page import figure, page, sheet, table, thumbnail, tiles
from components.contracts.verdict import Verdict, to_html
from components.human_eval.aggregate import Labels
from components.human_eval.campaign import Campaign
from components.human_eval.chart import line_chart
from components.human_eval.config import GateConfig
from components.human_eval.decision import Component
from components.human_eval.eprocess import log_e_path, lower_bound, upper_bound
from components.human_eval.evidence import streams
from components.human_eval.plan import WHOLE, Comparison, Draw, Pair, Plan
from components.human_eval.ratings import Rating
from components.registry.object_store import ObjectNotFoundError

_SHOWN_QUERIES = 8
_SHOWN_CHANGES = 6
_NO_PICTURE = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
_SIMULATED = (
    "Simulated raters know the taxonomy: this exercises the machinery, not taste. "
    "No person judged this candidate."
)


@dataclass(frozen=True)
class Findings:
    """What the report shows.

    Attributes:
        campaign: The campaign.
        verdict: The decision under the policy in force.
        production: What the production defaults would say.
        labels: What the ratings say.
        components: What was decided on.
        set_aside: Records that do not count, by reason.
        ratings: Ratings that count, of this campaign.
        seconds: Time spent rating, in seconds.
        banned: Raters whom the campaign's owner has banned, with the reason.
    """

    campaign: Campaign
    verdict: Verdict
    production: Verdict
    labels: Labels
    components: Sequence[Component]
    set_aside: Mapping[str, int]
    ratings: Sequence[Rating]
    seconds: float
    banned: Mapping[str, str]

    @property
    def plan(self) -> Plan:
        """The sampling plan."""
        return self.campaign.plan


def render(findings: Findings, config: GateConfig) -> str:
    """Returns the whole page."""
    verdict = findings.verdict
    parts = [
        _banner(verdict),
        f"<p><b>{html.escape(decision(findings))}</b></p>",
        _tiles(findings),
        to_html(verdict),
        _evidence(findings, config),
        _departments(findings),
        _changes(findings),
        _pictures(findings),
        _raters(findings, config),
        _cost(findings, config),
        f"<h2>What the production defaults would say: {findings.production.status}</h2>"
        "<p>The same ratings under the thresholds for a shop with real traffic and people as "
        "raters.</p>",
        to_html(findings.production),
    ]
    return page(f"Human evaluation of {verdict.version}: {verdict.status}", "".join(parts))


def decision(findings: Findings) -> str:
    """Returns the decision and why, in two sentences a manager understands."""
    verdict = findings.verdict
    whole = next((check for check in verdict.checks if check.name == "similarity"), None)
    seen = "Not enough has been rated to say how good the results are."
    if whole and whole.observed is not None:
        required = float(whole.requirement.removeprefix("> "))
        seen = (
            f"Of the results shown, {whole.observed:.0%} were judged similar to the photo, where "
            f"more than {required:.0%} is required."
        )
    worst = next((check for check in verdict.checks if check.status == verdict.status), None)
    why = "" if worst is None else _sentence(worst.reason)
    return {
        "pass": f"{seen} All {len(verdict.checks)} checks hold, so this version may go live.",
        "fail": f"{seen} This version must not go live: {why}",
        "undecided": f"{seen} It is too early to decide: {why}",
        "expired": f"{seen} The campaign ended without a decision, so this version does not go "
        f"live: {why}",
    }[verdict.status]


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _banner(verdict: Verdict) -> str:
    return f'<p class="simulated">{_SIMULATED}</p>' if verdict.simulated else ""


def _tiles(findings: Findings) -> str:
    labels = findings.labels
    return tiles(
        [
            (f"{len(labels.scores):,}", "pairs judged"),
            (f"{len(findings.ratings):,}", "ratings spent"),
            (
                f"{len(labels.cached) * findings.campaign.config.ratings_per_pair:,}",
                "ratings saved by earlier judgements",
            ),
            (f"{findings.seconds / 3600:.1f} h", "rating time"),
            (f"{sum(labels.needed.values()):,}", "ratings still needed"),
            (_text(labels.youden), "label quality (Youden's J on golds)"),
            (_text(labels.alpha), "agreement (Krippendorff's alpha)"),
            (_text(findings.plan.churn), "share of slots changed"),
        ]
    )


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _evidence(findings: Findings, config: GateConfig) -> str:
    drawn = [
        _charts(part, findings, config)
        for part in findings.components
        if part.slice == "all" and len(part.scores) >= 2
    ]
    if not drawn:
        return ""
    return (
        "<h2>Evidence</h2><p>The evidence may be looked at after every query: whoever stops at the "
        f"first look above the line is wrong in at most {findings.campaign.alpha:.1%} of all "
        f"campaigns.</p>{''.join(drawn)}"
    )


def _charts(part: Component, findings: Findings, config: GateConfig) -> str:
    """Returns the e-processes and the bounds of one component, over the recorded order."""
    x = np.array(part.scores)
    alpha, m = findings.campaign.alpha, part.mean
    limit = math.log10(1 / alpha)
    fail_limit = math.log10(len(findings.components) / alpha)
    for_it = log_e_path(x, m) / math.log(10)
    against = log_e_path(x, m, mirrored=True) / math.log(10)
    step = max(1, len(x) // 24)
    looks = sorted({*range(step, len(x) + 1, step), len(x)})
    shown = part.shown
    lower = [shown(lower_bound(x[:n], alpha=alpha)) for n in looks]
    upper = [shown(upper_bound(x[:n], alpha=alpha, stakes_at=m)) for n in looks]
    means = [shown(float(x[:n].mean())) for n in looks]
    count = list(range(1, len(x) + 1))
    name = {
        "similarity": "Similarity",
        "non_inferiority": "Difference to the incumbent",
        "anchor": f"Difference to the best of {config.anchor_days} days",
    }.get(part.name, part.name)
    unit = "queries" if part.name == "similarity" else "comparisons"
    evidence = line_chart(
        f"{name}: evidence over {unit}, in powers of ten (above 12 cut off)",
        [(count, list(for_it), "var(--pass)", f"above {shown(m):.3f}"),
         (count, list(against), "var(--fail)", f"below {shown(m):.3f}")],
        [(limit, f"passes from {1 / alpha:.0f}x"),
         (fail_limit, f"fails from {10**fail_limit:.0f}x")],
        unit=unit,
    )  # fmt: skip
    bounds = line_chart(
        f"{name}: mean with its bounds over {unit}",
        [(looks, upper, "var(--muted)", "upper bound"), (looks, means, "var(--accent)", "mean"),
         (looks, lower, "var(--muted)", "lower bound")],
        [(shown(m), f"required {shown(m):.3f}")],
        unit=unit,
    )  # fmt: skip
    return evidence + bounds


def _departments(findings: Findings) -> str:
    rows = [
        (
            check.slice,
            check.status,
            next((len(c.scores) for c in findings.components if c.slice == check.slice), 0),
            check.observed if check.observed is not None else "",
            check.lower if check.lower is not None else "",
            check.upper if check.upper is not None else "",
            check.requirement,
        )
        for check in findings.verdict.checks
        if check.name == "department_similarity"
    ]
    head = ("department", "status", "queries", "mean score", "lower", "upper", "required")
    return f"<h2>Departments</h2>{table(head, rows)}" if rows else ""


def _raters(findings: Findings, config: GateConfig) -> str:
    rows = [
        (
            report.rater_id,
            report.standing.replace("_", " by "),
            report.ratings,
            report.golds,
            "" if report.gold_youden is None else round(report.gold_youden, 3),
            "" if report.peer_youden is None else round(report.peer_youden, 3),
        )
        for report in findings.labels.raters
    ]
    head = ("rater", "standing", "live ratings", "golds", "J on golds", "J against peers")
    text = (
        f"<p>A rater counts with Youden's J of at least {config.gold_youden:g} on golds and "
        f"{config.peer_youden:g} against the others' majority on live pairs. What a banned rater "
        "said is dropped and was asked again.</p>"
    )
    aside = findings.set_aside
    if aside:
        listed = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in aside.items())
        text += f"<p>Rows of the ratings file set aside: {html.escape(listed)}.</p>"
    alpha = findings.labels.alpha
    if alpha is not None and alpha < 0.4:
        text += (
            f"<p>Agreement is low ({alpha:.2f}): where nearly everything is similar that is so "
            "with good raters as well; elsewhere look at the guidelines.</p>"
        )
    return f"<h2>Raters</h2>{text}{table(head, rows)}" if rows else ""


def _changes(findings: Findings) -> str:
    """Returns what changed against the incumbent: the worst losses and the best gains."""
    labels = findings.labels
    pairs = {pair.task_id: pair for pair in findings.plan.live}
    judged: dict[tuple[str, str], tuple[float, Comparison]] = {}
    for entry in findings.plan.comparisons:
        if all(task in labels.scores for task in entry.tasks):
            added = labels.scores[entry.added] if entry.added else 0.0
            judged[entry.added, entry.removed] = (added - labels.scores[entry.removed], entry)
    if not judged:
        return ""
    ranked = sorted(judged.values(), key=lambda found: (found[0], found[1].query_id))
    losses = [entry for d, entry in ranked if d < 0][:_SHOWN_CHANGES]
    gains = [entry for d, entry in reversed(ranked) if d > 0][:_SHOWN_CHANGES]

    def row(entry: Comparison) -> str:
        removed = pairs[entry.removed]
        shown = [
            figure(_picture(findings, removed.query_image), entry.query_id, kind="query"),
            _judged_figure(findings, removed, "was: "),
        ]
        if entry.added:
            shown.append(_judged_figure(findings, pairs[entry.added], "now: "))
        return sheet(shown)

    mean = sum(d for d, _ in ranked) / len(ranked)
    parts = [
        f"<h2>What changed against {html.escape(findings.plan.incumbent)}</h2><p>"
        f"{len(ranked):,} changed results were compared; the new ones are "
        f"{'better' if mean >= 0 else 'worse'} by {abs(mean):.2f} on average "
        "(1 is similar, 0 is not).</p>"
    ]
    for title, entries in (("What got worse", losses), ("What got better", gains)):
        if entries:
            parts.append(f"<h3>{title}</h3>{''.join(row(entry) for entry in entries)}")
    return "".join(parts)


def _judged_figure(findings: Findings, pair: Pair, before: str = "") -> str:
    score = findings.labels.scores[pair.task_id]
    return figure(
        _picture(findings, pair.result_image),
        f"{before}{pair.item_id}: {score:.2f}",
        kind="good" if score >= 0.5 else "bad",
    )


def _cost(findings: Findings, config: GateConfig) -> str:
    """Returns what the campaign took of raters' time, and what earlier judgements spared."""
    plan, labels = findings.plan, findings.labels
    golds = {gold.task_id for gold in plan.golds}
    on_golds = sum(rating.task_id in golds for rating in findings.ratings)
    each = config.ratings_per_pair
    rows = [
        ("ratings of results", len(findings.ratings) - on_golds),
        ("answers to golds (qualification and hidden)", on_golds),
        ("ratings saved: judged in earlier campaigns", len(labels.cached) * each),
        ("ratings saved: decided before the plan was used up",
         sum(labels.needed.values()) if findings.verdict.status in ("pass", "fail") else 0),
        ("pairs in the plan", len(plan.live)),
        ("pairs judged", len(labels.scores)),
    ]  # fmt: skip
    banned = "".join(
        f"<p>Banned by the campaign's owner: {html.escape(rater)} ({html.escape(why)}).</p>"
        for rater, why in sorted(findings.banned.items())
    )
    return f"<h2>Ratings spent and saved</h2>{table(('what', 'how many'), rows)}{banned}"


def _pictures(findings: Findings) -> str:
    labels = findings.labels
    done = [
        draw
        for draw in streams(findings.plan, ())[WHOLE]
        if draw.tasks and all(task in labels.scores for task in draw.tasks)
    ]
    if not done:
        return ""
    unique = list({draw.query_id: draw for draw in done}.values())
    ranked = sorted(unique, key=lambda d: (_score(d, labels), d.query_id))
    worst, best = ranked[:_SHOWN_QUERIES], ranked[::-1][: _SHOWN_QUERIES // 2]
    return (
        "<h2>The worst results</h2>"
        + "".join(_row(draw, findings) for draw in worst)
        + "<h2>The best results</h2>"
        + "".join(_row(draw, findings) for draw in best)
    )


def _score(draw: Draw, labels: Labels) -> float:
    slots = len(draw.tasks) + draw.empty
    return sum(labels.scores[task] for task in draw.tasks) / slots


def _row(draw: Draw, findings: Findings) -> str:
    pairs = {pair.task_id: pair for pair in findings.plan.live}
    labels = findings.labels
    first = pairs[draw.tasks[0]]
    shown = [
        figure(
            _picture(findings, first.query_image),
            f"{draw.query_id}, {draw.department}: {_score(draw, labels):.2f}",
            kind="query",
        )
    ]
    shown += [_judged_figure(findings, pairs[task]) for task in draw.tasks]
    return sheet(shown)


def _picture(findings: Findings, path: str) -> str:
    try:
        return thumbnail(findings.campaign.picture(path), side=96)
    except (ObjectNotFoundError, OSError):
        # A picture that is gone takes the report's others with it no more than the verdict.
        return _NO_PICTURE
