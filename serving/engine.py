"""What is being served: one immutable bundle at a time, replaced by one assignment.

A request takes `Engine.current` once and uses that bundle to its end, so no answer can mix two
versions, and a bundle that was replaced goes away when its last request has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from components.contracts.bundle import Manifest
from components.contracts.catalog import Item
from components.contracts.images import ImageLimits, admit, probe
from components.contracts.taxonomy import Taxonomy
from components.search.retrieval import BundleIndex
from components.search.searcher import Vectors
from serving.encoder import Encode


@dataclass(frozen=True)
class Hit:
    """One result.

    Attributes:
        item: The catalog item.
        score: Cosine similarity to the query, in [-1, 1].
    """

    item: Item
    score: float


@dataclass(frozen=True)
class Photo:
    """What a search saw of an uploaded photo.

    Attributes:
        format: Such as `JPEG`.
        width: In pixels.
        height: In pixels.
        admitted: The bytes that the encoder got.
    """

    format: str
    width: int
    height: int
    admitted: bytes


@dataclass(frozen=True)
class LoadedBundle:
    """A bundle that passed every check and can answer.

    Attributes:
        manifest: What it is.
        digest: SHA-256 of its manifest.
        taxonomy: The tree that the items' labels stand in.
        index: The items with the searcher over their vectors.
        views: Product id to the positions of its images in the index.
        encode: Admitted images to float32 `[images, dim]`, unit norm.
        timings: Seconds that each stage of loading took.
    """

    manifest: Manifest
    digest: str
    taxonomy: Taxonomy
    index: BundleIndex
    views: Mapping[str, tuple[int, ...]]
    encode: Encode
    timings: Mapping[str, float]

    @property
    def version(self) -> str:
        """The bundle's name in the registry."""
        return self.manifest.version

    def item(self, item_id: str) -> Item | None:
        """Returns an item, or None when the bundle does not hold it."""
        return self.index.item(item_id) if item_id in self.index else None

    def taxon_path(self, item: Item) -> str:
        """Returns where an item stands in the taxonomy, as people read it."""
        return self.taxonomy.names(item.taxon_id) if item.taxon_id in self.taxonomy else ""

    def similar(self, item: Item, k: int, *, exclude_same_product: bool = True) -> list[Hit]:
        """Returns what looks like an item: one image a product, never the item itself.

        Args:
            item: An item of this bundle.
            k: Most results.
            exclude_same_product: Whether the other images of the item's own product are left
                out; when not, the one that looks most like the item may be in the answer.
        """
        vector = self.index.vector(item.item_id)
        hits = self._hits(vector, k, exclude_products=[[item.product_id]])
        if exclude_same_product:
            return hits
        own = [row for row in self.views[item.product_id] if self.index.items[row] is not item]
        if own:
            scores = self.index.vectors[own] @ vector[0]
            best = int(np.argmax(scores))
            score = float(np.clip(scores[best], -1.0, 1.0))
            hits = sorted(
                [Hit(self.index.items[own[best]], score), *hits], key=lambda hit: -hit.score
            )
        return hits[:k]

    def search(self, data: bytes, k: int, limits: ImageLimits) -> tuple[Photo, list[Hit]]:
        """Returns what looks like a photo: one image a product.

        Args:
            data: The photo as it came.
            k: Most results.
            limits: What a photo may be; checked before any pixel is decoded.

        Raises:
            BadImageError: The photo is refused.
        """
        kind, width, height = probe(data, limits)
        admitted = admit(data, limits)
        return Photo(kind, width, height, admitted), self._hits(self.encode([admitted]), k)

    def _hits(
        self, vector: Vectors, k: int, exclude_products: list[list[str]] | None = None
    ) -> list[Hit]:
        answer = self.index.answer(vector, k, exclude_products=exclude_products)[0]
        return [
            Hit(self.index.items[position], score)
            for position, score in zip(answer.positions, answer.scores, strict=True)
        ]


@dataclass
class Status:
    """What `/readyz` tells of following a channel; written by the follower alone.

    Attributes:
        live: What the channel names as live; empty when unknown.
        checked_at: When the channel was last read, ISO 8601 in UTC.
        source_error: Why the channel could not be read the last time; empty when it could.
        failed_version: A version that is live but could not be loaded; empty when there is none.
        failed_reason: Why it could not.
        loaded_at: When the current bundle began to serve, ISO 8601 in UTC.
        swaps: How often a bundle was put in place, the first one included.
    """

    live: str = ""
    checked_at: str = ""
    source_error: str = ""
    failed_version: str = ""
    failed_reason: str = ""
    loaded_at: str = ""
    swaps: int = 0


@dataclass
class Engine:
    """Holds the bundle that answers.

    Attributes:
        current: The bundle, or None before the first one is in place.
        status: How following the channel goes.
    """

    current: LoadedBundle | None = None
    status: Status = field(default_factory=Status)

    @property
    def version(self) -> str:
        """The version being served; empty before the first one is in place."""
        return self.current.version if self.current else ""

    def swap(self, bundle: LoadedBundle) -> None:
        """Puts a checked bundle in place, between two requests."""
        self.current = bundle
        self.status.swaps += 1
        self.status.loaded_at = now()
        self.status.failed_version = self.status.failed_reason = ""

    def describe(self) -> dict[str, Any]:
        """Returns what `/readyz` answers."""
        status = self.status
        detail: dict[str, Any] = {
            "ready": self.current is not None,
            "version": self.version or None,
            "live": status.live or None,
            "loaded_at": status.loaded_at or None,
            "checked_at": status.checked_at or None,
            "swaps": status.swaps,
        }
        if status.source_error:
            detail["source_error"] = status.source_error
        if status.failed_version:
            detail["failed"] = {"version": status.failed_version, "reason": status.failed_reason}
        return detail


def now() -> str:
    """Returns the time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
