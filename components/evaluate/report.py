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
    body = [_tiles(figures), to_html(verdict)]
    if study:
        for part in study.parts:
            body.append(f"<h2>{_NAMES[part.name]}</h2>")
            body.append(_table(part, figures, study))
            body.append(_sheets(part, study))
    return page.page(f"Evaluation of {verdict.version}", "".join(body))


def _tiles(figures: Mapping[str, Any]) -> str:
    wanted = (
        ("shopper", "leaf_hit_at_10", "photos with a right type in the first 10"),
        ("shopper", "product_recall_at_10", "photos with the right product in the first 10"),
        ("items", "leaf_precision_at_10", "right types in the first 10, catalog images"),
        ("index", "recall_at_10", "of what exact search finds"),
    )
    return page.tiles(
        (f"{figures[part][name]:.1%}", label)
        for part, name, label in wanted
        if name in figures.get(part, {})
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
