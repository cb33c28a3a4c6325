"""The label report: what a curator looks at after the catalog step."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.catalog.drift import Change
from components.catalog.duplicates_page import section
from components.catalog.labels import Worker
from components.contracts import page
from components.contracts.catalog import Item, Query, Reject
from components.contracts.images import BadImageError, ImageLimits, admit, read_image
from components.contracts.near_duplicates import NearDuplicates
from components.contracts.taxonomy import Taxonomy

# A thumbnail takes about 4 KB; with these bounds the page stays well under 2 MB.
_PICTURES = 60
_REJECTS_SHOWN = 100
_WORKERS_SHOWN = 200
# The report must stay readable when somebody's titles are novels.
_LONGEST_TEXT = 300


@dataclass(frozen=True)
class Suspect:
    """A curated label that the crowd disagrees with.

    Attributes:
        item_id: The item.
        image: Its image.
        curated: The curator's label as people read it.
        crowd: The crowd's label.
        confidence: The crowd's probability for its label.
        votes: How many votes stand behind it.
    """

    item_id: str
    image: str
    curated: str
    crowd: str
    confidence: float
    votes: int


def render(
    *,
    summary: Mapping[str, Any],
    taxonomy: Taxonomy,
    items: Sequence[Item],
    rejects: Sequence[Reject],
    pictures: Sequence[tuple[Reject, str]],
    suspects: Sequence[Suspect],
    workers: Sequence[Worker],
    changes: Sequence[Change],
    limits: ImageLimits,
    copies: NearDuplicates | None = None,
    photos: Sequence[Query] = (),
) -> str:
    """Returns the page.

    Args:
        summary: What `summary.json` says.
        taxonomy: The tree.
        items: The checked items.
        rejects: Everything set aside.
        pictures: Rejected items that may have an image, with its path.
        suspects: Curated labels that the crowd disagrees with, the surest first.
        workers: The crowd's workers, the least reliable first.
        changes: Figures beside the live version's; none where nothing is live.
        limits: Bounds for the images that are shown.
        copies: Images that are copies of one another.
        photos: The shopper photos, also those that are copies.
    """
    tiles = page.tiles(
        [
            (f"{len(items):,}", f"items of {summary['products']:,} products"),
            (f"{summary['queries']:,}", "shopper photos"),
            (f"{summary['votes']:,}", f"votes by {len(workers):,} workers"),
            (f"{len(rejects):,}", "rows set aside"),
            (f"{len(suspects):,}", "suspected label errors"),
        ]
    )
    parts = [
        tiles,
        _remarks(summary),
        "<h2>Departments</h2>",
        _departments(items, taxonomy),
        "<h2>Since the live version</h2>",
        _changes(changes),
        "<h2>Set aside</h2>",
        _rejects(rejects),
        _rejected_pictures(pictures, limits),
        "<h2>Copies of one picture</h2>",
        section(copies or NearDuplicates(), items, photos, lambda one: _thumbnail(one, limits)),
        "<h2>Suspected label errors</h2>",
        _suspects(suspects, limits),
        "<h2>Labels by the crowd alone</h2>",
        _crowd_labels(items, taxonomy, limits),
        "<h2>Workers</h2>",
        _workers(workers),
    ]
    return page.page("Catalog and labels", "".join(parts))


def _remarks(summary: Mapping[str, Any]) -> str:
    remarks = []
    if summary["same_bytes"]:
        remarks.append(
            f"{summary['same_bytes']:,} items have the very image of another item, byte for byte."
        )
    if summary["labels_above_leaf"]:
        remarks.append(
            f"{summary['labels_above_leaf']:,} items are labelled above the leaves, because "
            "nothing more is known or agreed on."
        )
    return f"<ul>{''.join(f'<li>{remark}</li>' for remark in remarks)}</ul>" if remarks else ""


def _departments(items: Sequence[Item], taxonomy: Taxonomy) -> str:
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[taxonomy.department(item.taxon_id)].append(item)
    leaves = Counter(taxonomy.department(leaf) for leaf in taxonomy.leaves)
    rows: list[tuple[object, ...]] = []
    for department in (*taxonomy.departments, taxonomy.root):
        group = groups.get(department, [])
        if department == taxonomy.root and not group:
            continue
        name = taxonomy[department].name if department != taxonomy.root else "(no label)"
        used = {item.taxon_id for item in group if taxonomy.is_leaf(item.taxon_id)}
        sources = Counter(item.label_source for item in group)
        rows.append(
            (
                name,
                len(group),
                len({item.product_id for item in group}),
                leaves[department],
                leaves[department] - len(used),
                sources["curated"],
                sources["crowd"],
                sources["none"],
            )
        )
    columns = (
        "department",
        "items",
        "products",
        "leaves",
        "leaves without items",
        "curated",
        "crowd",
        "no label",
    )
    return page.table(columns, rows)


def _changes(changes: Sequence[Change]) -> str:
    if not changes:
        return "<p>Nothing is live yet: there is nothing to compare with.</p>"
    words = {"ok": "", "warn": "look at it", "stop": "too far: the run stops"}
    order = ("stop", "warn", "ok")
    rows = [
        (
            change.what,
            f"{change.distance:.1%}",
            f"{change.limit:.1%}" if change.limit < 1 else "none",
            words[change.verdict],
            change.detail or "-",
        )
        for change in sorted(changes, key=lambda change: order.index(change.verdict))
    ]
    return page.table(("figure", "moved by", "limit", "", "what moved most"), rows)


def _rejects(rejects: Sequence[Reject]) -> str:
    if not rejects:
        return "<p>Nothing was set aside.</p>"
    counts = Counter((reject.kind, reject.reason) for reject in rejects)
    counted = page.table(
        ("table", "reason", "rows"),
        [(kind, reason, count) for (kind, reason), count in counts.most_common()],
    )
    # One of every reason comes first, so that a flood of one kind hides no other.
    by_reason: dict[tuple[str, str], list[Reject]] = defaultdict(list)
    for reject in rejects:
        by_reason[reject.kind, reject.reason].append(reject)
    share = max(1, _REJECTS_SHOWN // len(by_reason))
    shown = [reject for group in by_reason.values() for reject in group[:share]]
    listed = page.table(
        ("table", "row", "id", "reason", "detail"),
        [
            (reject.kind, reject.row, _short(reject.key), reject.reason, _short(reject.detail))
            for reject in shown
        ],
    )
    more = len(rejects) - len(shown)
    tail = f"<p>And {more:,} more in rejects.jsonl.</p>" if more else ""
    return counted + listed + tail


def _rejected_pictures(pictures: Sequence[tuple[Reject, str]], limits: ImageLimits) -> str:
    return page.sheet(
        page.figure(source, _short(f"row {reject.row}, {reject.key}: {reject.reason}"), kind="bad")
        for reject, image in pictures[:_PICTURES]
        if (source := _thumbnail(image, limits))
    )


def _suspects(suspects: Sequence[Suspect], limits: ImageLimits) -> str:
    if not suspects:
        return "<p>The crowd contradicts no curated label with confidence.</p>"
    figures = [
        page.figure(
            source,
            _short(
                f"{suspect.item_id}: {suspect.curated}, the crowd says {suspect.crowd} "
                f"({suspect.confidence:.0%}, {suspect.votes} votes)"
            ),
            kind="bad",
        )
        for suspect in suspects[:_PICTURES]
        if (source := _thumbnail(suspect.image, limits))
    ]
    more = len(suspects) - _PICTURES
    tail = f"<p>And {more:,} more in summary.json.</p>" if more > 0 else ""
    return (
        "<p>The curated label was kept. The crowd, left alone, is sure of another one.</p>"
        + page.sheet(figures)
        + tail
    )


def _crowd_labels(items: Sequence[Item], taxonomy: Taxonomy, limits: ImageLimits) -> str:
    labelled = [item for item in items if item.label_source == "crowd"]
    if not labelled:
        return "<p>Every label is a curator's.</p>"
    # The least sure come first: that is where a look is worth most.
    labelled.sort(key=lambda item: (item.label_confidence, item.item_id))
    figures = [
        page.figure(
            source,
            _short(
                f"{item.item_id}: {taxonomy.names(item.taxon_id)} ({item.label_confidence:.0%})"
            ),
        )
        for item in labelled[:_PICTURES]
        if (source := _thumbnail(item.image, limits))
    ]
    return f"<p>{len(labelled):,} items, the least sure first.</p>" + page.sheet(figures)


def _workers(workers: Sequence[Worker]) -> str:
    if not workers:
        return "<p>Nobody voted.</p>"
    rows = [
        (
            _short(worker.worker_id),
            worker.votes,
            worker.reliability,
            "" if worker.agreement is None else worker.agreement,
            _short(worker.set_aside),
        )
        for worker in workers[:_WORKERS_SHOWN]
    ]
    more = len(workers) - _WORKERS_SHOWN
    tail = f"<p>And {more:,} more reliable ones in summary.json.</p>" if more > 0 else ""
    return (
        "<p>Those set aside first, then the least reliable. Reliability is the estimated "
        "probability that a vote is right; it comes from the votes alone. A spammer's votes "
        "cannot be told from guessing; colluders share mistakes that nobody else makes. Neither's "
        "votes had a part in the labels.</p>"
        + page.table(
            ("worker", "votes", "reliability", "agrees with the curator", "set aside"), rows
        )
        + tail
    )


def _thumbnail(image: str, limits: ImageLimits) -> str:
    """Returns a thumbnail, or nothing where the image cannot be shown."""
    try:
        return page.thumbnail(admit(read_image(image, limits), limits))
    except BadImageError:
        return ""


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
