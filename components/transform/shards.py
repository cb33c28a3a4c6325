"""Where each item goes: its split by the product, its shard by a hash of its id."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from components.contracts.catalog import Item, is_unseen
from components.transform.config import TransformConfig

SPLITS = ("train", "unseen")


@dataclass(frozen=True)
class ShardPlan:
    """Which shard of its split an item belongs to.

    Items are ordered by a hash of their id, which mixes products and classes, and that order is
    cut into equal pieces; so shards are even, and an item's place hangs on no clock or worker.

    Attributes:
        boundaries: For each split, the first hash of every shard but the first.
    """

    boundaries: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, items: Iterable[Item], config: TransformConfig) -> ShardPlan:
        """Plans the shards for a catalog."""
        orders: dict[str, list[str]] = {split: [] for split in SPLITS}
        for item in items:
            orders[split_of(item.product_id, config)].append(order_of(item.item_id))
        boundaries: dict[str, tuple[str, ...]] = {}
        for split, order in orders.items():
            order.sort()
            wanted = -(-len(order) // config.examples_per_shard)
            if split == "train":
                wanted = max(wanted, config.min_train_shards)
            count = max(1, min(wanted, len(order)))
            boundaries[split] = tuple(order[len(order) * k // count] for k in range(1, count))
        return cls(boundaries)

    def count(self, split: str) -> int:
        """Returns how many shards a split has."""
        return len(self.boundaries[split]) + 1

    def shard(self, split: str, item_id: str) -> int:
        """Returns the number of an item's shard."""
        return bisect.bisect_right(self.boundaries[split], order_of(item_id))


def order_of(item_id: str) -> str:
    """Returns an item's place in the mixed order, as hex digits."""
    return hashlib.sha256(f"shard:{item_id}".encode()).hexdigest()


def split_of(product_id: str, config: TransformConfig) -> str:
    """Returns `train` or `unseen`."""
    return "unseen" if is_unseen(product_id, fraction=config.unseen_fraction) else "train"


def shard_name(shard: int, count: int) -> str:
    """Returns the file name of a shard."""
    return f"part-{shard:05d}-of-{count:05d}.tfrecord"
