"""The evaluate step's page: the verdict, figures by department, and the answers as pictures."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from components.contracts import page
from components.contracts.images import BadImageError, admit, read_image
from components.contracts.verdict import Verdict, to_html
from components.evaluate.forest import Bar, forest
from components.evaluate.questions import Asked
from components.evaluate.study import Part, Study
from components.search.retrieval import Hits

_SHOWN = {
    "leaf_hit_at_10": "a right type in the first 10",
    "leaf_precision_at_10": "right types among the first 10",
    "ndcg_at_10": "nDCG@10",
    "product_recall_at_10": "the right product in the first 10",
}
_SHEETS = 6
_REASONS = 8
_PICTURES = 8
_SIDE = 88
_NAMES = {"shopper": "Shopper photos", "items": "Catalog images"}


def render(verdict: Verdict, figures: Mapping[str, Any], study: Study | None) -> str:
    """Returns the whole page; below 2 MB, since sheets and pictures are few and small.

    Args:
        verdict: The verdict.
        figures: What `evaluate.measure` returned, completed.
        study: Questions and answers; None when nothing could be asked.
    """
    body = [_outcome(verdict), _tiles(figures)]
    if study:
        for part in study.parts:
            body.append(f"<h2>{_NAMES[part.name]}</h2>")
            body.append(_table(part, figures, study))
            body.append(_changes(part, figures, study))
            body.append(_sheets(part, study))
    # The whole list is for whoever wants to know it all; what failed stands at the top.
    body.append(
        f"<details><summary>All {len(verdict.checks)} checks</summary>{to_html(verdict)}</details>"
    )
    return page.page(f"Evaluation of {verdict.version}", "".join(body))


def _outcome(verdict: Verdict) -> str:
    """Returns what a reader wants first: the status, what it was compared with, and why."""
    against = (
        f"Compared with <code>{html.escape(verdict.incumbent)}</code>."
        if verdict.incumbent
        else "Nothing is live: compared with nothing."
    )
    failed = verdict.failures
    items = "".join(f"<li>{html.escape(check.reason)}</li>" for check in failed[:_REASONS])
    more = len(failed) - _REASONS
    tail = f"<p>And {more} more, at the end of this page.</p>" if more > 0 else ""
    reasons = f"<ul>{items}</ul>{tail}" if failed else ""
    notes = "".join(f'<p class="muted">{html.escape(note)}</p>' for note in verdict.notes)
    held = f"{len(verdict.checks) - len(failed)} of {len(verdict.checks)} checks hold"
    return (
        f'<section class="verdict {verdict.status}"><h2>{verdict.gate}: {verdict.status}, {held}'
        f"</h2><p>{against}</p>{reasons}{notes}</section>"
    )


def _tiles(figures: Mapping[str, Any]) -> str:
    wanted = (
        ("shopper", "leaf_hit_at_10", "photos with a right type in the first 10"),
        ("shopper", "product_recall_at_10", "photos with the right product in the first 10"),
        ("items", "leaf_precision_at_10", "right types in the first 10, catalog images"),
        ("index", "recall_at_10", "of what exact search finds"),
        ("delta", "changed_results", "of the results people have not judged"),
    )
    shown = []
    for part, name, label in wanted:
        if name in figures.get(part, {}):
            before = figures.get(f"{part}_incumbent", {}).get(name)
            was = f" (was {before:.1%})" if before is not None else ""
            shown.append((f"{figures[part][name]:.1%}", label + was))
    for part in _NAMES:
        if f"{part}_overlap_at_10" in figures:
            kept = figures[f"{part}_overlap_at_10"]
            shown.append((f"{kept:.1%}", f"of the incumbent's results stayed, {part}"))
    served = figures.get("server", {})
    for name, label in (("search", "a search by photo"), ("similar", "a search by item")):
        if f"{name}_p95_ms" in served:
            middle, slow = served[f"{name}_p50_ms"], served[f"{name}_p99_ms"]
            shown.append(
                (
                    f"{served[f'{name}_p95_ms']:.1f} ms",
                    f"{label} in the server, p95 (p50 {middle:.1f}, p99 {slow:.1f})",
                )
            )
    if "memory_mb" in served:
        shown.append((f"{served['memory_mb']:.0f} MiB", "of memory the server took"))
    return page.tiles(shown)


def _changes(part: Part, figures: Mapping[str, Any], study: Study) -> str:
    """Returns a chart of each department's change with its interval; empty without an incumbent."""
    found = [one for one in figures.get("department_changes", ()) if one["part"] == part.name]
    if not found:
        return ""
    rows = [
        Bar(
            name=study.relevance.taxonomy.names(one["department"]),
            mean=one["mean"],
            lower=one["lower"],
            upper=one["upper"],
            note=f"{one['queries']} queries"
            + ("" if one["p_value"] is not None else ", too few to guard"),
        )
        for one in sorted(found, key=lambda one: one["mean"])
    ]
    return (
        "<h3>Right types among the first 10: change since the incumbent, by department</h3>"
        + forest(rows)
    )


def _table(part: Part, figures: Mapping[str, Any], study: Study) -> str:
    names = [name for name in _SHOWN if name in figures[part.name]]
    columns = ["", "queries", *(_SHOWN[name] for name in names)]
    rows = [_row("all", figures[part.name], figures.get(f"{part.name}_incumbent"), names)]
    unseen = figures.get(f"{part.name}_unseen")
    if unseen and unseen["queries"]:
        rows.append(_row("never trained on", unseen, {} if part.incumbent else None, names))
    for department, values in figures["departments"].items():
        if part.name in values:
            theirs = values.get(f"{part.name}_incumbent", {}) if part.incumbent else None
            name = study.relevance.taxonomy.names(department)
            rows.append(_row(name, values[part.name], theirs, names))
    return page.table(columns, rows)


def _row(
    title: str,
    ours: Mapping[str, float],
    theirs: Mapping[str, float] | None,
    names: Sequence[str],
) -> list[object]:
    row: list[object] = [title, int(ours["queries"])]
    for name in names:
        text = f"{ours[name]:.1%}" if name in ours else ""
        if theirs is not None and name in theirs:
            text += f" (was {theirs[name]:.1%})"
        row.append(text)
    return row


def _sheets(part: Part, study: Study) -> str:
    quality = np.nan_to_num(part.values["ndcg_at_10"], nan=-1.0)
    usable = np.flatnonzero(quality >= 0)
    order = usable[np.argsort(-quality[usable], kind="stable")]
    groups = [
        ("Good answers (from the best quarter)", _spread(order[: -(-len(order) // 4)])),
        ("Worst answers", list(order[::-1][:_SHEETS])),
    ]
    picture = cache(_picture)
    parts = []
    for title, rows in groups:
        parts.append(f"<h3>{title}</h3>")
        parts += [_sheet(part.asked, row, study, picture) for row in rows]
    if part.incumbent:
        overlaps = part.overlaps()
        changed = [row for row in np.argsort(overlaps, kind="stable") if overlaps[row] < 1]
        title = (
            "Most changed answers: candidate, then incumbent" if changed else "No answer changed"
        )
        parts.append(f"<h3>{title}</h3>")
        for place in changed[:_SHEETS]:
            parts.append(_sheet(part.asked, int(part.rows[place]), study, picture))
            parts.append(_sheet(part.incumbent, int(place), study, picture))
    return "".join(parts)


def _spread(rows: Any) -> list[int]:
    """Returns a few rows from all over the best quarter: the very best all look alike."""
    places = np.linspace(0, len(rows) - 1, min(_SHEETS, len(rows))).astype(int)
    return [int(row) for row in rows[places]]


def _sheet(asked: Asked, row: int, study: Study, picture: Any) -> str:
    question = asked.questions[row]
    hits: Hits = asked.hits[row]
    shown = [_figure(picture(question.image), _name(study, question.taxon_id), "query")]
    for position, score in list(zip(hits.positions, hits.scores, strict=True))[:_PICTURES]:
        item = asked.index.items[position]
        label = study.labels.get(item.item_id, item.taxon_id)
        kind = "good" if label == question.taxon_id else "bad"
        same = ", same product" if question.product_id == item.product_id else ""
        shown.append(_figure(picture(item.image), f"{_name(study, label)} {score:.2f}{same}", kind))
    return page.sheet(shown)


def _name(study: Study, taxon_id: str) -> str:
    taxonomy = study.relevance.taxonomy
    return taxonomy[taxon_id].name if taxon_id in taxonomy else taxon_id


def _figure(source: str, caption: str, kind: str) -> str:
    if source:
        return page.figure(source, caption, kind=kind)
    text = f"{html.escape(caption)} (no picture)"
    return f'<figure class="{kind}"><figcaption>{text}</figcaption></figure>'


def _picture(image: str) -> str:
    """Returns a small picture; empty when it cannot be read any more."""
    try:
        return page.thumbnail(admit(read_image(image)), side=_SIDE)
    except BadImageError:
        return ""
