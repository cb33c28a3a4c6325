"""Compares a catalog with the one that the live version was made from.

A broken export is seldom unreadable: it is half as long, its pictures are thumbnails, or a
department's labels are gone. Each figure then moves further than a shop moves overnight.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from components.catalog.config import CatalogConfig
from components.catalog.statistics import Statistics

# Of a limit, the share from which on people are told.
_WARN_FROM = 0.5
_WHAT = {
    "label": "labels",
    "format": "image formats",
    "side": "the longer side of the images, in pixels",
    "aspect": "width by height of the images",
    "bytes": "bytes of the images",
    "brightness": "brightness of the images, 0 to 255",
}


@dataclass(frozen=True)
class Live:
    """What the live version was made from.

    Attributes:
        item_ids: Its items.
        statistics: Its figures; None where its bundle has none (built by an older program).
    """

    item_ids: frozenset[str]
    statistics: Statistics | None = None


@dataclass(frozen=True)
class Change:
    """One figure beside the live version's.

    Attributes:
        what: The figure, for people.
        distance: How far it moved, in [0, 1].
        limit: From where on the step stops.
        detail: What moved most, for people.
    """

    what: str
    distance: float
    limit: float
    detail: str

    @property
    def verdict(self) -> str:
        """Returns `ok`, `warn` or `stop`; with a limit of 1 nothing is ever said."""
        if self.distance > self.limit:
            return "stop"
        return "warn" if self.limit < 1 and self.distance > _WARN_FROM * self.limit else "ok"


def total_variation(now: Mapping[str, float], before: Mapping[str, float]) -> float:
    """Returns half the sum of the differences: the share that must move to make one the other.

    Args:
        now: Class to share; the shares add up to 1.
        before: The same, of what it is compared with.

    Returns:
        A distance in [0, 1] (Levin, Peres and Wilmer, Markov Chains and Mixing Times, 4.1).
    """
    return sum(abs(now.get(key, 0.0) - before.get(key, 0.0)) for key in {*now, *before}) / 2


def compare(
    now: Statistics,
    live: Live,
    *,
    item_ids: Collection[str],
    names: Mapping[str, str],
    config: CatalogConfig,
) -> list[Change]:
    """Returns every figure beside the live version's.

    Args:
        now: Today's figures.
        live: What it is compared with.
        item_ids: Today's items.
        names: Taxon id to what people read.
        config: The limits.
    """
    gone = len(live.item_ids.difference(item_ids))
    changes = [
        Change(
            "items that are gone",
            gone / max(len(live.item_ids), 1),
            config.max_removed_share,
            f"{gone:,} of {len(live.item_ids):,} live items are not in the catalog",
        )
    ]
    before = live.statistics
    if before is None:
        return changes
    for feature, what in _WHAT.items():
        today, then = now.shares.get(feature, {}), before.shares.get(feature, {})
        # Without a picture that could be decoded there is nothing to compare.
        if today and then:
            changes.append(
                Change(
                    what,
                    total_variation(today, then),
                    config.max_drift,
                    _most_moved(today, then, names if feature == "label" else {}),
                )
            )
    changes.append(
        Change(
            "rows set aside",
            max(now.rejected - before.rejected, 0.0),
            config.max_drift,
            f"{before.rejected:.1%} to {now.rejected:.1%}",
        )
    )
    for column in sorted({*now.filled, *before.filled}):
        today_filled, live_filled = now.filled.get(column, 0.0), before.filled.get(column, 0.0)
        if today_filled != live_filled:
            changes.append(
                Change(
                    f"column {column}",
                    abs(today_filled - live_filled),
                    # A new column is no fault, and an emptied one spoils no vector: people decide.
                    1.0 if column != "label" else config.max_drift,
                    f"filled for {live_filled:.1%} of the items, now {today_filled:.1%}",
                )
            )
    return changes


def stopping(changes: Sequence[Change]) -> str:
    """Returns what stops the step, in words; empty where nothing does."""
    return "; ".join(
        f"{change.what} moved by {change.distance:.1%}, more than the {change.limit:.1%} allowed "
        f"({change.detail})"
        for change in changes
        if change.verdict == "stop"
    )


def _most_moved(
    today: Mapping[str, float], then: Mapping[str, float], names: Mapping[str, str]
) -> str:
    moved = sorted(
        {*today, *then}, key=lambda key: (-abs(today.get(key, 0.0) - then.get(key, 0.0)), key)
    )
    return ", ".join(
        f"{names.get(key, key)} {then.get(key, 0.0):.1%} to {today.get(key, 0.0):.1%}"
        for key in moved[:3]
        if today.get(key, 0.0) != then.get(key, 0.0)
    )
