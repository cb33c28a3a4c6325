"""The catalog step: tables, images and votes in; one checked record an item out."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.catalog.config import CatalogConfig
from components.catalog.drift import Change, Live, compare, stopping
from components.catalog.duplicates import Fingerprints, copied_photos, counts, find
from components.catalog.labels import Crowd, CrowdLabel, label_items
from components.catalog.report import Suspect, render
from components.catalog.rows import (
    ITEM_COLUMNS,
    QUERY_COLUMNS,
    ReadImage,
    Row,
    check_items,
    check_queries,
    read_images,
    resolve_image,
)
from components.catalog.statistics import Statistics, measure
from components.catalog.tables import Table, read_table, table_path
from components.catalog.votes import ITEM_COLUMNS as VOTE_ITEM_COLUMNS
from components.catalog.votes import Votes, encode
from components.contracts import catalog as contract
from components.contracts.catalog import Item, Query, Reject
from components.contracts.errors import InputError, LookalikeError, full_disk_told
from components.contracts.files import (
    fresh_directory,
    sha256_file,
    write_atomically,
    write_json,
)
from components.contracts.images import BadImageError
from components.contracts.near_duplicates import NEAR_DUPLICATES_FILE
from components.contracts.progress import Progress
from components.contracts.taxonomy import Taxonomy

_SUSPECTS_KEPT = 1000


@dataclass(frozen=True)
class _Checked:
    """What became of one table."""

    total: int
    rejects: list[Reject]


@full_disk_told("catalog")
def check_catalog(
    *,
    catalog: str,
    taxonomy: str,
    votes: str,
    queries: str,
    previous_taxonomy: Path | None,
    config: CatalogConfig,
    output: Path,
    report: Path,
    live: Live | None = None,
    fingerprints: Fingerprints | None = None,
) -> dict[str, int]:
    """Checks the tables and the images and gives every item one label.

    A curated label wins over the crowd. Where there is none, the label is the deepest node that
    the votes agree on, and the root where there are no votes or no agreement.

    Args:
        catalog: The catalog's table: a local path or `file://` URI.
        taxonomy: The taxonomy's table.
        votes: The crowd's votes; empty for none.
        queries: The shopper photos; empty for none.
        previous_taxonomy: The live bundle's taxonomy, whose class ids stay; None for none.
        config: The step's settings.
        output: Directory for the checked catalog; emptied first, and whole once `summary.json`
            is there.
        report: The HTML file to write.
        live: What the live version was made from, to compare with; None for none.
        fingerprints: Those that an earlier run kept; None for none.

    Returns:
        Counts for the pipeline's metrics.

    Raises:
        InputError: A table cannot be used as a whole; the message names file and row.
        LookalikeError: More rows than `config.max_reject_share` were set aside, no item is left,
            or the catalog is further from the live version's than the settings allow.
    """
    tree = _read_taxonomy(taxonomy, previous_taxonomy)
    catalog_path = table_path(catalog, what="catalog")
    items_table = read_table(catalog_path, required=ITEM_COLUMNS, what="catalog")
    # All tables are opened before any image is read: a misspelt column is told in a second.
    queries_path = table_path(queries, what="queries") if queries else None
    queries_table = (
        read_table(queries_path, required=QUERY_COLUMNS, what="queries") if queries_path else None
    )
    votes_path = table_path(votes, what="votes") if votes else None
    votes_table = _read_votes(votes_path) if votes_path else None
    fresh_directory(output)
    fingerprints = fingerprints or Fingerprints()

    rows, item_rejects = check_items(items_table, tree)
    with Progress("catalog images", total=len(rows), unit="images") as progress:
        kept, bad = read_images(
            rows,
            kind="item",
            source=catalog_path,
            config=config,
            progress=progress,
            fingerprints=fingerprints,
        )
    checked = {"items": _Checked(items_table.total, item_rejects + bad)}
    known = dict.fromkeys(items_table.column("item_id"), False)
    known.update((row.key, True) for row, _ in kept)
    curated = {row.key: row.taxon_id for row, _ in kept if row.taxon_id}

    crowd = Crowd({}, ())
    ballots = 0
    if votes_table is not None:
        usable, vote_rejects = _encode(votes_table, tree, known)
        checked["votes"] = _Checked(votes_table.total, vote_rejects)
        crowd = label_items(usable, taxonomy=tree, curated=curated, config=config)
        ballots = len(usable)
    items = [_item(row, image, tree, crowd.labels.get(row.key)) for row, image in kept]

    statistics = measure(
        items,
        [image.look for _, image in kept],
        rows=items_table.total,
        rejected=len(checked["items"].rejects),
    )
    changes = _changes(statistics, items, live, tree, config)
    photos: list[Query] = []
    if queries_table is not None and queries_path is not None:
        photos, query_rejects = _queries(
            queries_table, queries_path, tree, items, config, fingerprints
        )
        checked["queries"] = _Checked(queries_table.total, query_rejects)

    copies, asked = find(items, photos, fingerprints)
    rejects = [reject for table in checked.values() for reject in table.rejects]
    # They have no fault that somebody should repair: they do not count for the limit.
    rejects += copied_photos(copies, queries_path)
    pictures = _pictures(items_table, catalog_path, item_rejects)
    suspects = _suspects(items, curated, crowd, tree, config)
    contract.write_items(output / contract.ITEMS_FILE, items)
    contract.write_queries(output / contract.QUERIES_FILE, asked)
    copies.write(output / NEAR_DUPLICATES_FILE)
    contract.write_rejects(output / contract.REJECTS_FILE, rejects)
    tree.write(output / contract.TAXONOMY_FILE)
    sources = {"catalog": catalog_path, "queries": queries_path, "votes": votes_path}
    summary: dict[str, Any] = {
        "items": len(items),
        "products": len({item.product_id for item in items}),
        "queries": len(asked),
        "votes": ballots,
        "tables": {
            name: {
                "rows": table.total,
                "rejects": dict(sorted(Counter(reject.reason for reject in table.rejects).items())),
            }
            for name, table in checked.items()
        },
        "label_sources": dict(sorted(Counter(item.label_source for item in items).items())),
        "labels_above_leaf": sum(not tree.is_leaf(item.taxon_id) for item in items),
        "same_bytes": len(items) - len({item.content_hash for item in items}),
        "near_duplicates": counts(copies, {item.item_id: item for item in items}),
        "suspected_errors": [asdict(suspect) for suspect in suspects[:_SUSPECTS_KEPT]],
        "workers": [asdict(worker) for worker in crowd.workers],
        "changes": [{**asdict(change), "verdict": change.verdict} for change in changes],
        "taxonomy": {
            "digest": tree.digest,
            "nodes": sum(taxon.status == "active" for taxon in tree.taxa),
            "leaves": len(tree.leaves),
            "retired": sum(taxon.status == "retired" for taxon in tree.taxa),
        },
        "sources": {
            name: {"path": str(path), "sha256": sha256_file(path)}
            for name, path in sources.items()
            if path is not None
        },
    }
    # The page comes before the verdict on the rejects: it is what shows why the step stopped.
    write_atomically(
        report,
        render(
            summary=summary,
            taxonomy=tree,
            items=items,
            rejects=rejects,
            pictures=pictures,
            suspects=suspects,
            workers=crowd.workers,
            changes=changes,
            limits=config.image_limits,
            copies=copies,
            photos=photos,
        ),
    )
    for name, table in checked.items():
        _stop_on_rejects(name, table, config, report)
    if not items:
        raise LookalikeError(f"{catalog_path}: expected items, found none that can be used")
    _stop_on_changes(changes, catalog_path, report)
    statistics.write(output / contract.STATISTICS_FILE)
    write_json(output / contract.SUMMARY_FILE, summary)
    return {
        "items": len(items),
        "queries": len(asked),
        "votes": ballots,
        "rejects": len(rejects),
        "labelled_by_crowd": sum(item.label_source == "crowd" for item in items),
        "suspected_errors": len(suspects),
    }


def _read_taxonomy(uri: str, previous: Path | None) -> Taxonomy:
    tree = Taxonomy.read(table_path(uri, what="taxonomy"))
    return tree.with_class_ids_of(Taxonomy.read(previous)) if previous else tree


def _read_votes(path: Path) -> Table:
    table = read_table(path, required=("worker_id", "taxon_id"), what="votes")
    if not any(name in table.columns for name in VOTE_ITEM_COLUMNS):
        raise InputError(
            f"votes {path}: expected a column item_id or image_id, received "
            f"{', '.join(table.columns)}"
        )
    return table


def _encode(table: Table, tree: Taxonomy, known: Mapping[str, bool]) -> tuple[Votes, list[Reject]]:
    column = next(name for name in VOTE_ITEM_COLUMNS if name in table.columns)
    return encode(table, taxonomy=tree, item_column=column, known=known)


def _item(row: Row, image: ReadImage, tree: Taxonomy, crowd: CrowdLabel | None) -> Item:
    if row.taxon_id:
        label, source, confidence = row.taxon_id, "curated", 1.0
    elif crowd and crowd.taxon_id != tree.root:
        label, source, confidence = crowd.taxon_id, "crowd", crowd.confidence
    else:
        label, source, confidence = tree.root, "none", 0.0
    return Item(
        item_id=row.key,
        image=image.path,
        content_hash=image.content_hash,
        taxon_id=label,
        product_id=row.product_id or row.key,
        title=row.title,
        traffic=row.traffic,
        label_source=source,
        label_confidence=confidence,
        attributes=row.attributes,
    )


def _queries(
    table: Table,
    path: Path,
    tree: Taxonomy,
    items: Sequence[Item],
    config: CatalogConfig,
    fingerprints: Fingerprints,
) -> tuple[list[Query], list[Reject]]:
    rows, rejects = check_queries(table, tree, {item.product_id for item in items})
    with Progress("shopper photos", total=len(rows), unit="images") as progress:
        kept, bad = read_images(
            rows,
            kind="query",
            source=path,
            config=config,
            progress=progress,
            fingerprints=fingerprints,
        )
    photos = [
        Query(row.key, image.path, image.content_hash, row.product_id, row.taxon_id)
        for row, image in kept
    ]
    return photos, rejects + bad


def _pictures(table: Table, path: Path, rejects: Sequence[Reject]) -> list[tuple[Reject, str]]:
    """Returns the rejected rows whose image can perhaps be shown, with its path."""
    images = dict(zip(table.rows, table.column("image"), strict=True))
    folder = Path(os.path.realpath(path.parent))
    found = []
    for reject in rejects:
        try:
            if image := images.get(reject.row):
                found.append((reject, resolve_image(image, folder)))
        except BadImageError:
            continue
    return found


def _suspects(
    items: Sequence[Item],
    curated: Mapping[str, str],
    crowd: Crowd,
    tree: Taxonomy,
    config: CatalogConfig,
) -> list[Suspect]:
    """Returns the curated labels that the crowd is sure are wrong, the surest first."""
    found = []
    for item in items:
        label = crowd.labels.get(item.item_id)
        if item.item_id not in curated or label is None or label.votes < 2:
            continue
        ancestor = tree.common_ancestor(curated[item.item_id], label.taxon_id)
        disagrees = ancestor not in (curated[item.item_id], label.taxon_id)
        if disagrees and label.confidence >= config.suspect_confidence:
            found.append(
                Suspect(
                    item.item_id,
                    item.image,
                    tree.names(curated[item.item_id]),
                    tree.names(label.taxon_id),
                    label.confidence,
                    label.votes,
                )
            )
    return sorted(found, key=lambda suspect: (-suspect.confidence, suspect.item_id))


def _changes(
    statistics: Statistics,
    items: Sequence[Item],
    live: Live | None,
    tree: Taxonomy,
    config: CatalogConfig,
) -> list[Change]:
    if live is None:
        return []
    names = {taxon.taxon_id: taxon.name for taxon in tree.taxa}
    ids = [item.item_id for item in items]
    changes = compare(statistics, live, item_ids=ids, names=names, config=config)
    for change in changes:
        if change.verdict == "warn":
            print(f"warning: {change.what} moved by {change.distance:.1%}: {change.detail}")
    return changes


def _stop_on_changes(changes: Sequence[Change], source: Path, report: Path) -> None:
    if reasons := stopping(changes):
        raise LookalikeError(
            f"{source}: this is not the catalog that the live version was made from: {reasons}. "
            "Look whether the export is whole; if this is meant, raise catalog.max_removed_share "
            f"or catalog.max_drift (1 switches it off); all figures: {report}"
        )


def _stop_on_rejects(name: str, table: _Checked, config: CatalogConfig, report: Path) -> None:
    # One bad row stops nothing, however small the table is.
    allowed = max(1, math.floor(config.max_reject_share * table.total))
    if len(table.rejects) <= allowed:
        return
    reasons = Counter(reject.reason for reject in table.rejects).most_common()
    counted = ", ".join(f"{reason} {count}" for reason, count in reasons)
    first = table.rejects[0]
    raise LookalikeError(
        f"{first.source}: {len(table.rejects)} of {table.total} {name} were set aside "
        f"({counted}), more than the {allowed} that catalog.max_reject_share = "
        f"{config.max_reject_share} allows; the first: row {first.row}, {first.detail}. "
        f"Repair the table, or raise the limit if this is meant; all of them: {report}"
    )
