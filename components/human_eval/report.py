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
from components.human_eval.plan import WHOLE, Draw, Plan
from components.human_eval.ratings import Rating

_SHOWN_QUERIES = 8
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
        _raters(findings, config),
        _pictures(findings),
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
    whole = findings.components[0] if findings.components else None
    if whole is None or len(whole.scores) < 2:
        return ""
    x = np.array(whole.scores)
    alpha, m = config.alpha, whole.mean
    limit = math.log10(1 / alpha)
    fail_limit = math.log10(len(findings.components) / alpha)
    for_it = log_e_path(x, m) / math.log(10)
    against = log_e_path(x, m, mirrored=True) / math.log(10)
    step = max(1, len(x) // 40)
    looks = sorted({*range(step, len(x) + 1, step), len(x)})
    lower = [lower_bound(x[:n], alpha=alpha) for n in looks]
    upper = [upper_bound(x[:n], alpha=alpha, stakes_at=m) for n in looks]
    means = [float(x[:n].mean()) for n in looks]
    count = list(range(1, len(x) + 1))
    evidence = line_chart(
        "Evidence over queries, in powers of ten (above 12 cut off)",
        [(count, list(for_it), "var(--pass)", f"above {m:.2f}"),
         (count, list(against), "var(--fail)", f"below {m:.2f}")],
        [(limit, f"passes from {1 / alpha:.0f}x"),
         (fail_limit, f"fails from {10**fail_limit:.0f}x")],
    )  # fmt: skip
    bounds = line_chart(
        "Mean score with its bounds",
        [(looks, upper, "var(--muted)", "upper bound"), (looks, means, "var(--accent)", "mean"),
         (looks, lower, "var(--muted)", "lower bound")],
        [(m, f"required {m:.2f}")],
    )  # fmt: skip
    return (
        "<h2>Evidence</h2><p>The evidence may be looked at after every query: whoever stops at the "
        f"first look above the line is wrong in at most {alpha:.0%} of all campaigns.</p>"
        f"{evidence}{bounds}"
    )


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
    for task in draw.tasks:
        pair = pairs[task]
        score = labels.scores[task]
        shown.append(
            figure(
                _picture(findings, pair.result_image),
                f"{pair.item_id}: {score:.2f}",
                kind="good" if score >= 0.5 else "bad",
            )
        )
    return sheet(shown)


def _picture(findings: Findings, path: str) -> str:
    return thumbnail(findings.campaign.picture(path), side=96)
