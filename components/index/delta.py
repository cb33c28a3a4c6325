"""A delta: a new version made of a built one, with some items added, replaced or taken out.

Between two daily builds, a shop that has ten new sofas does not train and tune anew: their vectors
by the live encoder go into the index as it is. What comes of it is a bundle like any other, with
its own manifest, its own golden answers and a recall measured anew; the gates judge it like any
other. Quantisation and partitions stay as they were trained, so that a delta may change only so
much before a whole build is due.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts import embeddings as embedding_files
from components.contracts.bundle import (
    MANIFEST_FILE,
    Manifest,
    content_digest,
    list_files,
    read_manifest,
    write_manifest,
)
from components.contracts.catalog import ITEMS_FILE, TAXONOMY_FILE, Item, read_items, write_items
from components.contracts.delta import KEY, MODE, DeltaLineage, read_lineage
from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import fresh_directory, read_json, sha256_file, write_json
from components.index.golden import ANSWERS_FILE, QUERIES_FILE
from components.index.measure import Point, Questions
from components.index.queries import tuning_sample
from components.search import growing, neighbours
from components.search import searcher as search
from components.search.growing import Grown
from components.search.retrieval import ITEM_IDS_FILE, BundleIndex
from components.search.searcher import SCANN_DIRECTORY, Vectors

CURVE_FILE = "index/curve.json"
# Rewritten by a delta; everything else of the base is taken over byte for byte.
_REWRITTEN = (
    MANIFEST_FILE,
    ITEMS_FILE,
    ITEM_IDS_FILE,
    search.VECTORS_FILE,
    search.CONFIG_FILE,
    neighbours.NEIGHBOURS_FILE,
    ANSWERS_FILE,
    CURVE_FILE,
)


@dataclass(frozen=True)
class DeltaConfig:
    """How far a delta may go.

    Attributes:
        max_changed_share: Largest share of the items of the last whole build that may have been
            added, replaced or taken out since, over all deltas together, in (0, 1]; past it a
            rebuild is asked for.
        queries: Held-out queries that recall is measured on.
        latency_queries: Single queries timed.
        neighbour_items: Up to so many items, what looks like each of them is written down anew, as
            a new item may look like any; past it the delta has no such table, and is made in time.
        seed: Seed of the queries.
    """

    max_changed_share: float = 0.1
    queries: int = 500
    latency_queries: int = 100
    neighbour_items: int = 200_000
    seed: int = 17

    def __post_init__(self) -> None:
        """Refuses values without a meaning."""
        if not 0 < self.max_changed_share <= 1:
            raise InputError(
                "delta.max_changed_share: expected a share in (0, 1], received "
                f"{self.max_changed_share}"
            )
        for name in ("queries", "latency_queries"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"delta.{name}: expected at least 1, received {getattr(self, name)}"
                )


class RebuildDueError(LookalikeError):
    """The catalog has moved too far from what the index was trained on: build it whole."""


def build_delta(
    *,
    base: Path,
    origin: Path,
    upserts: Sequence[Item],
    embeddings: Path | None,
    deletes: Sequence[str],
    lineage: Mapping[str, Any],
    config: DeltaConfig,
    bundle: Path,
) -> Manifest:
    """Builds a bundle from another one with some items changed.

    Args:
        base: The bundle to change: what is live. It is not touched.
        origin: The last whole build: `base` itself, or what `base` says it came from.
        upserts: Checked items; one whose id is indexed replaces that one.
        embeddings: Directory of Parquet with the upserts' vectors by the base's encoder; None
            when there are no upserts.
        deletes: Ids of indexed items to take out.
        lineage: Kept in the manifest as given.
        config: Limits and samples.
        bundle: Directory to write the new bundle into.

    Returns:
        The manifest, written last.

    Raises:
        InputError: Nothing would change, an id is unknown, named twice or both upserted and
            deleted, or vectors and items do not belong together.
        RebuildDueError: More has changed since the last whole build than the configuration allows.
    """
    manifest = read_manifest(base)
    index = BundleIndex.load(base)
    lineages = _came_from(base, manifest, origin)
    known = _check_request(index, upserts, deletes)
    vectors = _vectors(embeddings, upserts, manifest.embedding_dim)
    items, grown = _grow(index, known, upserts, vectors, deletes)
    changed = _changed(read_items(origin / ITEMS_FILE), items)
    whole = read_manifest(origin).items
    share = changed / whole
    if share > config.max_changed_share:
        raise RebuildDueError(
            f"{changed:,} items ({share:.1%} of the {whole:,} of the last whole build "
            f"{lineages.origin}) would have been added, replaced or taken out since; at most "
            f"{config.max_changed_share:.1%} are allowed: run the whole pipeline (lookalike run), "
            "which tunes the index anew"
        )

    fresh_directory(bundle)
    _copy(base, bundle)
    write_items(bundle / ITEMS_FILE, items)
    search.save(grown.searcher, grown.vectors, bundle)
    np.save(bundle / ITEM_IDS_FILE, np.array([item.item_id for item in items]), allow_pickle=False)
    # From here on the files as they lie in the bundle answer, not what is in memory.
    delta = BundleIndex.load(bundle)
    has_table = neighbours.write(
        delta.searcher, delta.vectors, delta.products, bundle, most_items=config.neighbour_items
    )
    _answer_golden(base, bundle, delta)
    point = _measure(bundle, delta, config)
    _write_curve(base, bundle, point, config)
    files = list_files(bundle)
    now = datetime.now(UTC)
    recorded = replace(
        manifest,
        version=f"{now:%Y%m%d-%H%M%S}-{content_digest(files)[:8]}",
        created=now.isoformat(timespec="seconds"),
        mode=MODE,
        items=len(items),
        taxonomy_digest=sha256_file(bundle / TAXONOMY_FILE),
        index={
            **manifest.index,
            "recall": point.recall,
            "recall_lower": point.recall_lower,
            "recall_queries": config.queries,
            "shards": len(getattr(grown.searcher, "sizes", (0,))),
            "neighbour_table": has_table,
        },
        lineage={
            **manifest.lineage,
            **lineage,
            KEY: asdict(
                replace(
                    lineages,
                    upserts=len(upserts),
                    deletes=len(deletes),
                    changed=changed,
                    changed_share=share,
                    max_changed_share=config.max_changed_share,
                )
            ),
        },
        metrics={
            **manifest.metrics,
            "recall_lower": point.recall_lower,
            "query_p50_ms": point.p50_ms,
            "query_p95_ms": point.p95_ms,
            "delta_upserts": float(len(upserts)),
            "delta_deletes": float(len(deletes)),
            "delta_changed_share": share,
        },
        files=files,
    )
    write_manifest(bundle, recorded)
    return recorded


def _came_from(base: Path, manifest: Manifest, origin: Path) -> DeltaLineage:
    """Returns the new lineage as far as it hangs on where the delta comes from."""
    before = read_lineage(manifest)
    whole = read_manifest(origin)
    named = before.origin if before else manifest.version
    digest = sha256_file(origin / MANIFEST_FILE)
    if whole.version != named or (before and digest != before.origin_digest):
        raise InputError(
            f"{origin}: expected the last whole build {named}, which {manifest.version} came "
            f"from, received {whole.version}"
        )
    if whole.encoder_digest != manifest.encoder_digest:
        raise InputError(
            f"{base}: expected the encoder of {named}, found another one; a delta keeps the encoder"
        )
    return DeltaLineage(
        origin=whole.version,
        origin_digest=digest,
        base=manifest.version,
        depth=before.depth + 1 if before else 1,
    )


def _check_request(
    index: BundleIndex, upserts: Sequence[Item], deletes: Sequence[str]
) -> dict[str, int]:
    """Returns the positions of the upserted items that are indexed already."""
    if not upserts and not deletes:
        raise InputError("delta: expected items to upsert or to delete, received none")
    asked = Counter([*(item.item_id for item in upserts), *deletes])
    repeated = [item_id for item_id, count in asked.items() if count > 1]
    if repeated:
        raise InputError(
            f"delta: expected each item once, received more often: {', '.join(repeated[:5])}"
        )
    unknown = [item_id for item_id in deletes if item_id not in index]
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise InputError(
            f"delta: expected ids of indexed items to delete, these are not: "
            f"{', '.join(unknown[:5])}{more}"
        )
    return {item.item_id: index.position(item.item_id) for item in upserts if item.item_id in index}


def _vectors(directory: Path | None, upserts: Sequence[Item], dim: int) -> Vectors:
    if directory is None or not upserts:
        if upserts:
            raise InputError("delta: expected the vectors of the items to upsert, received none")
        return np.empty((0, dim), np.float32)
    embedded = embedding_files.read(directory)
    if embedded.vectors.shape[1] != dim:
        raise InputError(
            f"{directory}: expected vectors of {dim} dimensions, the base's, found "
            f"{embedded.vectors.shape[1]}; embed with the base's encoder"
        )
    rows = {
        (key, content): row
        for row, (key, content) in enumerate(
            zip(embedded.ids, embedded.content_hashes, strict=True)
        )
    }
    missing = [item.item_id for item in upserts if (item.item_id, item.content_hash) not in rows]
    if missing:
        raise InputError(
            f"{directory}: expected a vector for every item with its present image, found none "
            f"for {', '.join(missing[:5])}"
        )
    chosen = [rows[item.item_id, item.content_hash] for item in upserts]
    return np.ascontiguousarray(embedded.vectors[chosen])


def _grow(
    index: BundleIndex,
    known: Mapping[str, int],
    upserts: Sequence[Item],
    vectors: Vectors,
    deletes: Sequence[str],
) -> tuple[list[Item], Grown]:
    """Returns the items in their new order, and the index over them."""
    items = list(index.items)
    grown = Grown(index.searcher, np.asarray(index.vectors), np.arange(len(items)))
    if upserts:
        places = [known.get(item.item_id) for item in upserts]
        grown = growing.upsert(grown.searcher, grown.vectors, places, vectors)
        for item, place in zip(upserts, places, strict=True):
            if place is None:
                items.append(item)
            else:
                items[place] = item
    if deletes:
        # Upserts keep positions and add at the end: the old positions still hold.
        gone = [index.position(item_id) for item_id in deletes]
        grown = growing.delete(grown.searcher, grown.vectors, gone)
        items = [items[row] for row in grown.order]
    return items, grown


def _changed(before: Sequence[Item], after: Sequence[Item]) -> int:
    """Returns how many items were added, replaced or taken out."""
    old = {item.item_id: item.content_hash for item in before}
    new = {item.item_id: item.content_hash for item in after}
    return sum(old.get(key) != new.get(key) for key in old.keys() | new.keys())


def _copy(base: Path, bundle: Path) -> None:
    """Takes over what a delta leaves as it is."""
    for path in sorted(base.rglob("*")):
        relative = path.relative_to(base).as_posix()
        if path.is_dir() or relative in _REWRITTEN or relative.startswith(f"{SCANN_DIRECTORY}/"):
            continue
        target = bundle / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _answer_golden(base: Path, bundle: Path, index: BundleIndex) -> None:
    """Asks the base's golden queries again and writes the new answers."""
    golden = read_json(base / ANSWERS_FILE)
    vectors = np.load(bundle / QUERIES_FILE, allow_pickle=False)
    hits = index.answer(vectors, golden["k"], one_per_product=golden["one_per_product"])
    for record, one in zip(golden["queries"], hits, strict=True):
        record |= {
            "item_ids": one.item_ids,
            "product_ids": one.product_ids,
            "scores": one.scores,
        }
    write_json(bundle / ANSWERS_FILE, golden)


def _measure(bundle: Path, index: BundleIndex, config: DeltaConfig) -> Point:
    """Measures recall and latency anew, on photos and on items of the delta."""
    photos = np.load(bundle / QUERIES_FILE, allow_pickle=False)
    if not any(
        record["kind"] == "shopper" for record in read_json(bundle / ANSWERS_FILE)["queries"]
    ):
        # Golden queries of a catalog without photos are its own items.
        photos = photos[:0]
    queries = tuning_sample(
        index.items, index.vectors, photos, count=config.queries, seed=config.seed
    )
    k = int(read_json(bundle / ANSWERS_FILE)["k"])
    questions = Questions(index.exact(), queries, k=k, timed=config.latency_queries)
    return questions.measure(index.searcher)


def _write_curve(base: Path, bundle: Path, point: Point, config: DeltaConfig) -> None:
    """Keeps the base's curve, and says what is true of the delta."""
    curve = read_json(base / CURVE_FILE)
    curve["held_out"] = {"queries": config.queries, **point.to_json()}
    write_json(bundle / CURVE_FILE, curve)
