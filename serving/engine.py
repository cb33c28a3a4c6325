"""What is being served: one immutable bundle at a time, replaced by one assignment.

A request takes its bundle once and uses it to its end, so no answer can mix two versions. The
bundle that was replaced last stays in memory: rolling back to it is one assignment too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from components.contracts.bundle import Manifest
from components.contracts.catalog import Item
from components.contracts.taxonomy import Taxonomy
from components.search import query
from components.search.neighbours import NeighbourTable
from components.search.query import Found, Limits, Wanted
from components.search.searcher import Searcher, Vectors
from serving.encoder import Encode
from serving.item_table import ItemTable
from serving.taxon_filter import TaxonFilter

# So many items have their JSON kept, some 300 bytes each.
_KEPT_FRAGMENTS = 200_000


@dataclass(frozen=True)
class Hit:
    """One result.

    Attributes:
        item: The catalog item.
        score: Cosine similarity to the query, in [-1, 1].
    """

    item: Item
    score: float


class LoadedBundle:
    """A bundle that passed every check and can answer.

    Attributes:
        manifest: What it is.
        digest: SHA-256 of its manifest.
        taxonomy: The tree that the items' labels stand in.
        items: The items in index order.
        vectors: float32 `[items, dim]`, unit norm, in the same order.
        searcher: Over these vectors.
        encode: Admitted images to float32 `[images, dim]`, unit norm.
        timings: Seconds that each stage of loading took.
        search_seconds: What one search takes; decides where searches run.
        neighbours: What looks like each item, made with the bundle; None where it has no such
            table.
        taxa: Finds items by their place in the taxonomy.
        withdrawn: Positions of the items that are not shown.
    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        digest: str,
        taxonomy: Taxonomy,
        items: ItemTable,
        vectors: Vectors,
        searcher: Searcher,
        encode: Encode,
        timings: Mapping[str, float],
        search_seconds: float = 0.0,
        neighbours: NeighbourTable | None = None,
    ) -> None:
        """Joins the parts; the loader has checked that they belong together."""
        self.manifest = manifest
        self.digest = digest
        self.taxonomy = taxonomy
        self.items = items
        self.vectors = vectors
        self.searcher = searcher
        self.encode = encode
        self.timings = timings
        self.search_seconds = search_seconds
        self.neighbours = neighbours
        self.taxa = TaxonFilter(taxonomy, items)
        self.withdrawn: frozenset[int] = frozenset()
        self._paths: dict[str, str] = {}
        self._fragments: dict[tuple[int, bool], bytes] = {}

    @property
    def version(self) -> str:
        """The bundle's name in the registry."""
        return self.manifest.version

    def item(self, item_id: str) -> Item | None:
        """Returns an item, or None when the bundle does not hold it."""
        position = self.items.position(item_id)
        return None if position is None else self.items[position]

    def taxon_path(self, item: Item) -> str:
        """Returns where an item stands in the taxonomy, as people read it."""
        path = self._paths.get(item.taxon_id)
        if path is None:
            path = self.taxonomy.names(item.taxon_id) if item.taxon_id in self.taxonomy else ""
            self._paths[item.taxon_id] = path
        return path

    def hide(self, item_ids: Collection[str]) -> None:
        """Shows these items no more, and all others again."""
        positions = (self.items.position(item_id) for item_id in item_ids)
        self.withdrawn = frozenset(position for position in positions if position is not None)

    def limits(self, wanted: Wanted, position: int = -1) -> Limits:
        """Returns what an answer may hold.

        Args:
            wanted: What was asked for.
            position: The item that was asked about; -1 for a photo.
        """
        exclude = position >= 0 and wanted.exclude_same_product
        return Limits(
            k=wanted.k,
            part=self.taxa.part(wanted.taxon_id) if wanted.taxon_id else None,
            min_score=wanted.min_score,
            withdrawn=self.withdrawn,
            own=position,
            product=int(self.items.products[position]) if exclude else -1,
        )

    def vector(self, position: int) -> Vectors:
        """Returns an item's vector: float32 `[1, dim]`."""
        return self.vectors[position : position + 1]

    def find(self, vector: Vectors, limits: Limits) -> Found:
        """Answers one query; see `components.search.query.find`."""
        return query.find(self.searcher, self.vectors, self.items.products, vector, limits)

    def known(self, limits: Limits) -> Found | None:
        """Returns what looks like the item `limits.own` by the table; None: it has to be found."""
        return None if self.neighbours is None else self.neighbours.answer(limits)

    def find_items(self, limits: list[Limits]) -> list[Found]:
        """Answers what looks like each of several items: `own` of their limits."""
        found = {row: one for row, each in enumerate(limits) if (one := self.known(each))}
        rest = [row for row in range(len(limits)) if row not in found]
        if rest:
            vectors = self.vectors[[limits[row].own for row in rest]]
            more = self.find_many(vectors, [limits[row] for row in rest])
            found |= dict(zip(rest, more, strict=True))
        return [found[row] for row in range(len(limits))]

    def find_many(self, vectors: Vectors, limits: list[Limits]) -> list[Found]:
        """Answers several queries with one call of the searcher.

        Args:
            vectors: float32 `[queries, dim]`, unit norm.
            limits: One a query.
        """
        found: dict[int, Found] = {}
        searched = [
            (query.first_fetch(len(self.items), one), row)
            for row, one in enumerate(limits)
            if not query.is_exact(one)
        ]
        for group in _alike(searched):
            rows = [row for _, row in group]
            indices, scores = self.searcher.search(vectors[rows], group[-1][0])
            for place, row in enumerate(rows):
                one = vectors[row : row + 1]
                found[row] = query.finish(
                    self.searcher,
                    self.items.products,
                    one,
                    limits[row],
                    indices[place],
                    scores[place],
                )
        for row, exact in enumerate(limits):
            if row not in found:
                found[row] = self.find(vectors[row : row + 1], exact)
        return [found[row] for row in range(len(limits))]

    def hits(self, found: Found) -> list[Hit]:
        """Returns an answer as items with their scores."""
        pairs = zip(found.positions, found.scores, strict=True)
        return [Hit(self.items[position], score) for position, score in pairs]

    def fragment(self, position: int, images: bool) -> bytes | None:
        """Returns the kept JSON of an item, if it is kept."""
        return self._fragments.get((position, images))

    def keep_fragment(self, position: int, images: bool, fragment: bytes) -> None:
        """Keeps an item's JSON."""
        if len(self._fragments) >= _KEPT_FRAGMENTS:
            self._fragments.clear()
        self._fragments[position, images] = fragment


def _alike(searches: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Returns (neighbours to fetch, row) grouped by like numbers, ascending.

    So a few searches that need many neighbours do not make all the others fetch as many.
    """
    groups: list[list[tuple[int, int]]] = []
    for search in sorted(searches):
        if not groups or search[0] > 4 * groups[-1][0][0]:
            groups.append([])
        groups[-1].append(search)
    return groups


@dataclass
class Status:
    """What `/readyz` tells of following a channel; written by the follower alone.

    Attributes:
        live: What the channel names as live; empty when unknown.
        checked_at: When the channel was last read, ISO 8601 in UTC.
        source_error: Why the channel could not be read the last time; empty when it could.
        stale: Since when what is served may be out of date, ISO 8601 in UTC; empty when it is not.
        failed_version: A version that is live but could not be loaded; empty when there is none.
        failed_reason: Why it could not.
        loaded_at: When the current bundle began to serve, ISO 8601 in UTC.
        swaps: How often a bundle was put in place, the first one included.
    """

    live: str = ""
    checked_at: str = ""
    source_error: str = ""
    stale: str = ""
    failed_version: str = ""
    failed_reason: str = ""
    loaded_at: str = ""
    swaps: int = 0


@dataclass
class Engine:
    """Holds the bundle that answers, and the one before it.

    Attributes:
        current: The bundle, or None before the first one is in place.
        previous: The bundle that was replaced last; None when none is kept.
        keep_previous: Whether that one is kept.
        withdrawn: Ids of items that no bundle shows.
        status: How following the channel goes.
    """

    current: LoadedBundle | None = None
    previous: LoadedBundle | None = None
    keep_previous: bool = True
    withdrawn: frozenset[str] = frozenset()
    status: Status = field(default_factory=Status)

    @property
    def version(self) -> str:
        """The version being served; empty before the first one is in place."""
        return self.current.version if self.current else ""

    def swap(self, bundle: LoadedBundle) -> None:
        """Puts a checked bundle in place, between two requests."""
        bundle.hide(self.withdrawn)
        before, self.current = self.current, bundle
        self.previous = before if self.keep_previous else None
        # What was withdrawn while the bundle was being made ready.
        bundle.hide(self.withdrawn)
        self.status.swaps += 1
        self.status.loaded_at = now()
        self.status.failed_version = self.status.failed_reason = ""

    def kept(self, version: str) -> LoadedBundle | None:
        """Returns the bundle of this version when it is in memory."""
        for bundle in (self.current, self.previous):
            if bundle is not None and bundle.version == version:
                return bundle
        return None

    def withdraw(self, item_ids: Collection[str]) -> None:
        """Shows these items no more, and all others again."""
        self.withdrawn = frozenset(item_ids)
        for bundle in (self.current, self.previous):
            if bundle is not None:
                bundle.hide(self.withdrawn)

    def describe(self) -> dict[str, Any]:
        """Returns what `/readyz` answers."""
        status = self.status
        detail: dict[str, Any] = {
            "ready": self.current is not None,
            "version": self.version or None,
            "live": status.live or None,
            "previous": self.previous.version if self.previous else None,
            "loaded_at": status.loaded_at or None,
            "checked_at": status.checked_at or None,
            "swaps": status.swaps,
            "withdrawn": len(self.withdrawn),
        }
        if status.source_error:
            detail["source_error"] = status.source_error
        if status.stale:
            detail["stale_since"] = status.stale
        if status.failed_version:
            detail["failed"] = {"version": status.failed_version, "reason": status.failed_reason}
        return detail


def now() -> str:
    """Returns the time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
