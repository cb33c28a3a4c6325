"""Where each item goes: its split by the product and its copies, its shard by a hash of its id."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from components.contracts.catalog import Item, is_unseen
from components.contracts.near_duplicates import NearDuplicates
from components.transform.config import TransformConfig

SPLITS = ("train", "unseen")
_NO_COPIES = NearDuplicates()


@dataclass(frozen=True)
class ShardPlan:
    """Which shard of its split an item belongs to.

    Items are ordered by a hash of their id, which mixes products and classes, and that order is
    cut into equal pieces; so shards are even, and an item's place hangs on no clock or worker.

    Attributes:
        boundaries: For each split, the first hash of every shard but the first.
        unseen: The products that are never trained on.
    """

    boundaries: Mapping[str, tuple[str, ...]]
    unseen: frozenset[str]

    @classmethod
    def of(
        cls,
        items: Sequence[Item],
        config: TransformConfig,
        copies: NearDuplicates = _NO_COPIES,
    ) -> ShardPlan:
        """Plans the shards for a catalog.

        Args:
            items: Of the checked catalog.
            config: The step's settings.
            copies: Which products share images.
        """
        unseen = unseen_products((item.product_id for item in items), config, copies)
        orders: dict[str, list[str]] = {split: [] for split in SPLITS}
        for item in items:
            orders[_split(item.product_id, unseen)].append(order_of(item.item_id))
        boundaries: dict[str, tuple[str, ...]] = {}
        for split, order in orders.items():
            order.sort()
            wanted = -(-len(order) // config.examples_per_shard)
            if split == "train":
                wanted = max(wanted, config.min_train_shards)
            count = max(1, min(wanted, len(order)))
            boundaries[split] = tuple(order[len(order) * k // count] for k in range(1, count))
        return cls(boundaries, unseen)

    def split(self, product_id: str) -> str:
        """Returns `train` or `unseen`."""
        return _split(product_id, self.unseen)

    def count(self, split: str) -> int:
        """Returns how many shards a split has."""
        return len(self.boundaries[split]) + 1

    def shard(self, split: str, item_id: str) -> int:
        """Returns the number of an item's shard."""
        return bisect.bisect_right(self.boundaries[split], order_of(item_id))


def order_of(item_id: str) -> str:
    """Returns an item's place in the mixed order, as hex digits."""
    return hashlib.sha256(f"shard:{item_id}".encode()).hexdigest()


def unseen_products(
    products: Iterable[str], config: TransformConfig, copies: NearDuplicates
) -> frozenset[str]:
    """Returns the products that are never trained on.

    A product's id decides. Where products share an image, all of them are trained on if one is:
    what was trained on once, and may be in the weights that a warm run starts from, does not
    become unseen because a copy of it arrives.

    Args:
        products: All products of the catalog.
        config: The step's settings.
        copies: Which products share images.
    """
    chosen = {one for one in products if is_unseen(one, fraction=config.unseen_fraction)}
    for group in copies.products:
        if not chosen.issuperset(group):
            chosen.difference_update(group)
    return frozenset(chosen)


def _split(product_id: str, unseen: Collection[str]) -> str:
    return "unseen" if product_id in unseen else "train"


def shard_name(shard: int, count: int) -> str:
    """Returns the file name of a shard."""
    return f"part-{shard:05d}-of-{count:05d}.tfrecord"
