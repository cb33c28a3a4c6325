"""Parameters of the index step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from components.contracts.errors import InputError
from components.search.searcher import MIN_QUANTISED_POINTS, Backend

AUTO = "auto"


@dataclass(frozen=True)
class IndexConfig:
    """How the index is chosen, tuned and recorded.

    Attributes:
        backend: `auto` chooses what is fastest; or `brute_force`, `ah`, `tree_ah`.
        brute_force_below: Up to this many items (exclusive) `auto` searches exactly: that takes
            about a millisecond, and nothing faster is worth a neighbour missed.
        recall_target: What the lower confidence bound of recall must reach, in (0, 1].
        recall_at: Neighbours that recall is counted over.
        tuning_queries: Queries for choosing and for measuring recall (half each), half of them
            photos and half of them catalog items.
        latency_queries: Single queries timed for each point of the curve.
        tuning_seconds: No further index is built for comparison when it would end after so many
            seconds.
        memory_limit_mb: What the searcher may keep in memory, in units of 1e6 bytes; 0 for no
            limit.
        shard_items: A larger catalog is built in shards of at most so many items, with the memory
            for one of them.
        neighbour_items: Up to so many items, what looks like each of them is searched for once and
            written into the bundle, for servers to read; 0 for none. It takes 84 bytes an item and
            the time of one search an item, shared among the processors: past a million items more
            than tuning the index does.
        golden_queries: Queries kept in the bundle with their answers.
        golden_images: How many of those keep their photo.
        golden_k: Items in a golden answer, one image a product.
        seed: Seed of everything drawn here.
    """

    backend: str = AUTO
    brute_force_below: int = 20_000
    recall_target: float = 0.98
    recall_at: int = 10
    tuning_queries: int = 4000
    latency_queries: int = 200
    tuning_seconds: float = 600.0
    memory_limit_mb: int = 0
    shard_items: int = 2_000_000
    neighbour_items: int = 1_000_000
    golden_queries: int = 50
    golden_images: int = 50
    golden_k: int = 10
    seed: int = 17

    def __post_init__(self) -> None:
        """Refuses values without a meaning."""
        choices = (AUTO, *get_args(Backend))
        if self.backend not in choices:
            raise InputError(
                f"index.backend: expected one of {', '.join(choices)}; received {self.backend!r}"
            )
        if not 0.0 < self.recall_target <= 1.0:
            raise InputError(
                f"index.recall_target: expected a share in (0, 1], received {self.recall_target}"
            )
        smallest = {
            "recall_at": 1,
            "tuning_queries": 2,
            "latency_queries": 1,
            "golden_queries": 1,
            "golden_images": 0,
            "golden_k": 1,
            "shard_items": 2 * MIN_QUANTISED_POINTS,
            "tuning_seconds": 0,
            "neighbour_items": 0,
            "memory_limit_mb": 0,
        }
        for name, least in smallest.items():
            if getattr(self, name) < least:
                raise InputError(
                    f"index.{name}: expected at least {least}, received {getattr(self, name)}"
                )
