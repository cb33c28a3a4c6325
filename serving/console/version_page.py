"""`/console/versions/VERSION`: what a version is, what the gates said, and its curves."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from components.contracts import page as report
from components.contracts import verdict as verdicts
from components.registry.bundle_diff import BundleDiff
from components.registry.verdict_log import Stored
from serving.console import curves
from serving.console.frame import (
    act_link,
    button,
    facts,
    note,
    pill,
    status_pill,
    table,
    version_code,
    when,
)
from serving.console.reading import VersionView

_MOST_FIGURES = 60


def render(seen: VersionView, *, followed: str) -> str:
    """Returns the body of the page.

    Args:
        seen: The version.
        followed: The channel that this server follows: it comes first.
    """
    manifest = seen.manifest
    version = manifest.version
    states = sorted(seen.states, key=lambda state: (state.name != followed, state.name))
    pills = "".join(
        pill(f"live on {state.name}", "live") for state in states if state.live == version
    )
    parts = [f'<h1><code class="version">{html.escape(version)}</code> {pills}</h1>']
    for state in states:
        if entry := state.quarantine.get(version):
            text = f"quarantined on {state.name} by {entry.who}: {entry.why}"
            parts.append(note(html.escape(text), "fail"))
    parts.append(_tiles(seen))
    buttons = []
    for state in states:
        name = state.name
        if version in state.quarantine:
            buttons.append(button(act_link(name, "release", version), f"Release on {name}…"))
        elif state.live != version:
            buttons.append(
                button(act_link(name, "promote", version), f"Promote to {name}…", kind="primary")
            )
            buttons.append(button(act_link(name, "quarantine", version), f"Quarantine on {name}…"))
        if state.live and state.live != version:
            link = f"/console/compare?a={state.live}&b={version}"
            buttons.append(button(link, f"Compare with {name}'s"))
    parts.append(f'<div class="buttons">{"".join(buttons)}</div>')
    parts.append("<h2>What the gates said</h2>" + _judged(seen.verdicts))
    parts.append(_curves(seen.curves))
    parts.append("<h2>Where it comes from</h2>" + _origin(seen))
    return "".join(parts)


def _tiles(seen: VersionView) -> str:
    manifest = seen.manifest
    size = sum(entry.size for entry in manifest.files.values())
    tiles = [
        (f"{manifest.items:,}", f"items x {manifest.embedding_dim} dimensions"),
        (manifest.mode, "mode"),
        (f"{size / 1e6:,.1f} MB", f"{len(manifest.files)} files"),
    ]
    for name, label in (("recall_at_10", "recall@10 of the index"), ("query_p95_ms", "p95, ms")):
        if isinstance(value := manifest.metrics.get(name), int | float):
            tiles.insert(1, (f"{value:.4g}", label))
    return report.tiles(tiles) + f'<p class="muted">Built {when(manifest.created)}.</p>'


def _judged(stored: tuple[Stored, ...]) -> str:
    if not stored:
        return note("No gate has judged this version: it can only be promoted by force.", "wait")
    parts = []
    newest = {entry.verdict.gate: entry for entry in stored}
    for entry in newest.values():
        verdict = entry.verdict
        signed = "" if entry.signature in ("unchecked", "missing") else f", {entry.signature}"
        passed = verdict.status == "pass"
        count = len(verdict.checks)
        text = f"{count} checks" if passed else f"{len(verdict.failures)} of {count} did not pass"
        simulated = pill("simulated raters", "wait") if verdict.simulated else ""
        parts.append(
            f'<details class="judged"{"" if passed else " open"}><summary>'
            f"{status_pill(f'{verdict.gate} {verdict.status}', verdict.status)}{simulated}"
            f'<span class="muted">{text}, {when(verdict.created)} by '
            f"{html.escape(verdict.writer or 'nobody known')}"
            f"{html.escape(signed and f'{signed} signature')}</span></summary>"
            f"{verdicts.to_html(verdict)}</details>"
        )
    older = len(stored) - len(newest)
    if older:
        parts.append(f'<p class="muted">{older} older verdicts no longer count.</p>')
    return "".join(parts)


def _curves(found: Mapping[str, Any]) -> str:
    charts = []
    if chart := curves.recall_and_latency(found.get("index/curve.json")):
        charts.append(chart)
    charts += curves.training(found.get("encoder/curves.json"))
    return f'<h2>Curves</h2><div class="charts">{"".join(charts)}</div>' if charts else ""


def _origin(seen: VersionView) -> str:
    manifest = seen.manifest
    values: dict[str, Any] = {
        **{f"lineage: {name}": value for name, value in manifest.lineage.items()},
        **{f"index: {name}": value for name, value in manifest.index.items()},
        **{f"measured: {name}": value for name, value in manifest.metrics.items()},
        **{f"parameter: {name}": value for name, value in manifest.parameters.items()},
    }
    pairs = [
        ("manifest", f"<code>{html.escape(seen.digest)}</code>"),
        ("encoder", f"<code>{html.escape(manifest.encoder_digest)}</code>"),
        ("taxonomy", f"<code>{html.escape(manifest.taxonomy_digest)}</code>"),
    ]
    rows = [(html.escape(name), html.escape(_text(value))) for name, value in _flat(values).items()]
    listed = table(("Name", "Value"), rows)
    return (
        facts(pairs)
        + f"<details><summary>{len(rows)} values of lineage, index and parameters</summary>"
        + f"{listed}</details>"
    )


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values of nested objects under names with dots."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            inner = {f"{name}.{key}": entry for key, entry in value.items()}
            flat |= _flat(inner)
        else:
            flat[name] = value
    return flat


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def render_comparison(a: str, b: str, found: BundleDiff) -> str:
    """Returns the body of the page that compares two versions."""
    mean = found.mean_overlap
    parts = [
        "<h1>What would change</h1>",
        f"<p>A is {version_code(a)}, B is {version_code(b)}. Results are those of the golden "
        "queries that both were asked when they were built.</p>",
        report.tiles(
            [
                ("-" if mean is None else f"{mean:.0%}", "of the first ten results in common"),
                (f"{len(found.queries)}", "shared queries"),
                (f"{len(found.added):,}", "items added"),
                (f"{len(found.removed):,}", "items removed"),
            ]
        ),
    ]
    figures = [figure for figure in found.figures if figure.before != figure.after]
    rows = [
        (
            html.escape(figure.name),
            _figure(figure.before),
            _figure(figure.after),
        )
        for figure in figures[:_MOST_FIGURES]
    ]
    listed = table(("Figure", "A", "B"), rows) if rows else "<p>No figure differs.</p>"
    parts.append(f"<h2>Figures that differ</h2>{listed}")
    if found.parameters:
        first = _flat({name: value for name, value, _ in found.parameters})
        second = _flat({name: value for name, _, value in found.parameters})
        parameters = [
            (html.escape(name), html.escape(_text(before)), html.escape(_text(after)))
            for name in sorted(first.keys() | second.keys())
            if (before := first.get(name)) != (after := second.get(name))
        ]
        parts.append("<h2>Parameters that differ</h2>" + table(("Name", "A", "B"), parameters))
    changed = [query for query in found.queries if query.overlap < 1.0][:20]
    if changed:
        queries = [
            (html.escape(query.query_id), html.escape(query.kind), f"{query.overlap:.0%}")
            for query in changed
        ]
        parts.append(
            "<h2>Queries whose results change most</h2>"
            + table(("Query", "Kind", "In common"), queries)
        )
    return "".join(parts)


def _figure(value: tuple[float | None, float | None, float | None]) -> str:
    observed, lower, upper = value
    if observed is None:
        return '<span class="muted">-</span>'
    if lower is None and upper is None:
        return f"{observed:.4g}"
    low = "-∞" if lower is None else f"{lower:.4g}"
    high = "∞" if upper is None else f"{upper:.4g}"
    return f'{observed:.4g} <span class="muted">[{low}, {high}]</span>'
