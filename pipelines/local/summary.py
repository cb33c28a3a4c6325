"""What a run came to: one JSON object for programs, a screen of text and a page for people."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.contracts import page
from components.contracts.errors import LookalikeError
from components.contracts.files import read_json
from components.contracts.verdict import Verdict, to_html, to_text
from components.outcome.gates import newest
from components.outcome.notification import read_ending
from components.registry.registry import Registry
from pipelines.local.step_cache import StepResult
from pipelines.local.watch import duration

EXIT_PROMOTED = 0
EXIT_REFUSED = 3

_FIGURES = (
    ("shopper", "leaf_hit_at_10", "shopper photos: right type among the first 10"),
    ("shopper", "leaf_precision_at_10", "shopper photos: share of right type in the first 10"),
    ("shopper", "product_recall_at_1", "shopper photos: right product first"),
    ("shopper", "product_recall_at_10", "shopper photos: right product among the first 10"),
    ("shopper_unseen", "leaf_hit_at_10", "products never trained on: right type in the first 10"),
    ("shopper_unseen", "product_recall_at_10", "products never trained on: right product"),
    ("items", "leaf_precision_at_5", "item to item: share of right type in the first 5"),
    ("items", "leaf_precision_at_10", "item to item: share of right type in the first 10"),
    ("index", "recall_at_10", "index against exact search: recall@10"),
)


@dataclass(frozen=True)
class Summary:
    """The outcome of a run.

    Attributes:
        version: The candidate's version.
        outcome: `promoted`, `unchanged` (live already), `refused` or `undecided` (raters are
            missing).
        reasons: Why it was not promoted, one sentence each.
        live: What the channel points to now; empty when nothing does.
        mode: `scratch`, `warm` or `reuse`; empty when this run did not build the candidate.
        metrics: By group and name, as the evaluate step wrote them.
        verdicts: In the order of the gates.
        production: What the production defaults of human_eval say of the same ratings; None where
            nobody was asked.
        results: By step, in order; steps in branches that were not taken have none.
        seconds: How long the whole run took.
        run: The run's id.
        registry: The registry's URI.
        channel: The channel's name.
        workspace: The run's folder.
    """

    version: str
    outcome: str
    reasons: tuple[str, ...]
    live: str
    mode: str
    metrics: Mapping[str, Any]
    verdicts: tuple[Verdict, ...]
    production: Verdict | None
    results: Mapping[str, StepResult]
    registry: str
    channel: str
    workspace: Path
    seconds: float
    run: str

    @property
    def exit_code(self) -> int:
        """0 when the version is live, 3 when a gate refused it or is undecided."""
        return EXIT_PROMOTED if self.is_live else EXIT_REFUSED

    @property
    def is_live(self) -> bool:
        """Whether the candidate is what the channel points to."""
        return self.outcome in ("promoted", "unchanged")

    def to_json(self) -> dict[str, Any]:
        """Returns the object that `--json` prints; scripts rely on its keys."""
        return {
            "version": self.version,
            "promoted": self.is_live,
            "outcome": self.outcome,
            "reasons": list(self.reasons),
            "live": self.live,
            "mode": self.mode,
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "production_verdict": self.production.to_json() if self.production else None,
            "metrics": dict(self.metrics),
            "steps": [
                {"name": result.step, "seconds": round(result.seconds, 3), "cached": result.cached}
                for result in self.results.values()
            ],
            "run": self.run,
            "seconds": round(self.seconds, 3),
        }


def read_summary(
    results: Mapping[str, StepResult],
    *,
    run_id: str,
    pipeline: str,
    registry: Registry,
    channel: str,
    workspace: Path,
    seconds: float,
) -> Summary:
    """Collects the outcome from the run's record and from what the steps wrote."""
    ending = read_ending(
        registry, run=run_id, pipeline=pipeline, channel=channel, state="SUCCEEDED", error=""
    )
    if ending.outcome == "failed":
        raise LookalikeError(f"{registry.uri}: runs/{run_id}: the run left no record of its gates")
    production = None
    for gate in ("human_eval", "judge"):
        if gate in results:
            stricter = results[gate].artifacts["judgement"] / "production_verdict.json"
            if stricter.exists():
                production = Verdict.from_json(read_json(stricter), source=str(stricter))
    evaluated, built = results.get("evaluate"), results.get("catalog")
    return Summary(
        version=ending.version,
        outcome=ending.outcome,
        reasons=ending.reasons,
        live=ending.live,
        mode=str(built.outputs["mode"]) if built else "",
        metrics=read_json(evaluated.artifacts["evaluation"] / "metrics.json") if evaluated else {},
        verdicts=tuple(newest(registry.verdicts(ending.version))),
        production=production,
        results=results,
        registry=registry.uri,
        channel=channel,
        workspace=workspace,
        seconds=seconds,
        run=run_id,
    )


def _figures(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for group, name, label in _FIGURES:
        value = metrics.get(group, {}).get(name)
        if value is not None:
            found.append((f"{value:.1%}", label))
    return found


def _headline(summary: Summary) -> str:
    if summary.outcome == "promoted":
        return f"PROMOTED: {summary.version} is live on channel {summary.channel}"
    if summary.outcome == "unchanged":
        return f"UNCHANGED: {summary.version} was live on channel {summary.channel} already"
    live = f"still live: {summary.live}" if summary.live else "nothing is live"
    if summary.outcome == "undecided":
        return (
            f"UNDECIDED: {summary.version} waits for its raters; channel {summary.channel} is as "
            f"it was ({live})"
        )
    return f"REFUSED: {summary.version} does not go live on channel {summary.channel} ({live})"


def _stricter(summary: Summary) -> list[str]:
    """Says what production's own thresholds would have made of the same ratings."""
    if summary.production is None:
        return []
    reasons = [check.reason for check in summary.production.failures[:1]]
    why = f" ({reasons[0]})" if reasons else ""
    return [f"with the production defaults the raters' verdict is {summary.production.status}{why}"]


def _command_path(path: Path) -> str:
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)


def to_terminal(summary: Summary) -> str:
    """Returns the summary for a terminal of 80 columns and more."""
    registry = (
        summary.registry if "://" in summary.registry else _command_path(Path(summary.registry))
    )
    target = f"--registry {registry} --channel {summary.channel}"
    lines = ["", _headline(summary)]
    lines.extend(f"  - {reason}" for reason in summary.reasons)
    lines.append("")
    lines.extend(f"  {figure:>7}  {label}" for figure, label in _figures(summary.metrics))
    for verdict in summary.verdicts:
        lines.extend(["", to_text(verdict)])
    lines.extend(["", *_stricter(summary)])
    lines.extend(
        [
            "",
            _what_ran(summary),
            f"report:     {_command_path(summary.workspace / 'report.html')}",
        ]
    )
    if summary.outcome == "undecided":
        workspace = _command_path(summary.workspace)
        lines.append(
            f"go on:      lookalike run --pipeline release --workspace {workspace} "
            f"--channel {summary.channel}"
        )
    if summary.live:
        lines.extend(
            [
                f"serve:      lookalike serve {target} --images",
                f"status:     lookalike index status {target}",
                f"roll back:  lookalike index rollback {target} --reason '...'",
            ]
        )
    return "\n".join(lines)


def _what_ran(summary: Summary) -> str:
    ran = [result.step for result in summary.results.values() if not result.cached]
    kept = [result.step for result in summary.results.values() if result.cached]
    mode = f"mode {summary.mode}; " if summary.mode else ""
    took = f"{duration(summary.seconds)} in all"
    if not kept:
        return f"{mode}all {len(ran)} steps ran, {took}"
    return f"{mode}found finished: {', '.join(kept)}; ran: {', '.join(ran)}; {took}"


def to_page(summary: Summary) -> str:
    """Returns the run's report as one HTML page; links lead to the steps' own reports."""
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in summary.reasons)
    rows = []
    for result in summary.results.values():
        report = result.artifacts.get("report")
        link = ""
        if report is not None and report.exists():
            target = html.escape(os.path.relpath(report, summary.workspace))
            link = f'<a href="{target}">report</a>'
        how = "cached" if result.cached else "ran"
        rows.append(
            f"<tr><td>{html.escape(result.step)}</td><td>{how}</td>"
            f'<td class="number">{duration(result.seconds)}</td><td>{link}</td></tr>'
        )
    where = f"Mode {summary.mode}, registry" if summary.mode else "Registry"
    body = [
        f'<p class="muted">{where} <code>{html.escape(summary.registry)}</code></p>',
        f"<ul>{reasons}</ul>" if reasons else "",
        page.tiles(_figures(summary.metrics)),
        *(to_html(verdict) for verdict in summary.verdicts),
        *(f"<p>{html.escape(line)}</p>" for line in _stricter(summary)),
        "<h2>Steps</h2><div class='scroll'><table><thead><tr><th>step</th><th></th><th>time</th>"
        f"<th></th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>",
    ]
    return page.page(_headline(summary), "".join(body))
