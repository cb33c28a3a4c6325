"""Copies among the catalog's images and the shopper photos, found by what the images look like."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.contracts.catalog import Item, Query, Reject
from components.contracts.fingerprint import FINGERPRINT_BYTES, VERSION, fingerprint
from components.contracts.near_duplicates import NearDuplicates, groups, pairs
from components.registry.kept import Kept
from components.registry.object_store import ObjectStore

_SCHEMA = pa.schema(
    [
        pa.field("content_hash", pa.binary(32), nullable=False),
        pa.field("fingerprint", pa.binary(), nullable=False),
    ]
)


class Fingerprints:
    """Fingerprints by content hash: what an earlier run kept, and what this one makes."""

    def __init__(self, store: ObjectStore | None = None) -> None:
        """Reads what is kept.

        Args:
            store: The registry's store; None keeps nothing.
        """
        self._kept = Kept(store, kind="fingerprints", key=f"v{VERSION}") if store else None
        self._known: dict[str, bytes] = {}
        self._used: dict[str, bytes] = {}
        for file in self._kept.read().files if self._kept else ():
            if self._kept and (data := self._kept.fetch(file)) is not None:
                table = pq.read_table(io.BytesIO(data), schema=_SCHEMA)
                hashes, prints = (column.to_pylist() for column in table.columns)
                self._known |= {
                    one.hex(): print_ for one, print_ in zip(hashes, prints, strict=True)
                }

    def of(self, content_hash: str, data: bytes) -> bytes:
        """Returns an image's fingerprint; threads may ask at the same time.

        Args:
            content_hash: SHA-256 of its bytes.
            data: The encoded image.
        """
        found = self._known.get(content_hash)
        if found is None:
            found = fingerprint(data)
        self._used[content_hash] = found
        return found

    def __getitem__(self, content_hash: str) -> bytes:
        """Returns the fingerprint of an image that was asked for before."""
        return self._used[content_hash]

    def publish(self) -> list[str]:
        """Keeps what this run used for the next one; returns what failed, in words."""
        if self._kept is None:
            return []
        if self._used.keys() != self._known.keys():
            hashes = sorted(self._used)
            columns = [
                pa.array([bytes.fromhex(one) for one in hashes], pa.binary(32)),
                pa.array([self._used[one] for one in hashes], pa.binary()),
            ]
            buffer = io.BytesIO()
            table = pa.Table.from_arrays(columns, schema=_SCHEMA)
            pq.write_table(table, buffer, compression="zstd", use_dictionary=False)
            if file := self._kept.put(buffer.getvalue(), {}):
                self._kept.publish([file], {"images": len(hashes)})
        return self._kept.failures


def find(
    items: Sequence[Item], photos: Sequence[Query], fingerprints: Fingerprints
) -> tuple[NearDuplicates, list[Query]]:
    """Returns which items, products and photos show one picture, and the photos without copies.

    Args:
        items: The checked items.
        photos: The shopper photos.
        fingerprints: Of both.
    """
    hashes = [item.content_hash for item in items] + [photo.content_hash for photo in photos]
    # An image that shows nothing has no fingerprint; the very same bytes are a copy all the same.
    there = [row for row, one in enumerate(hashes) if fingerprints[one]]
    prints = np.frombuffer(b"".join(fingerprints[hashes[row]] for row in there), np.uint8)
    alike = pairs(prints.reshape(-1, FINGERPRINT_BYTES)).tolist()
    linked = [(there[left], there[right]) for left, right in alike]
    first: dict[str, int] = {}
    for row, one in enumerate(hashes):
        if first.setdefault(one, row) != row and not fingerprints[one]:
            linked.append((first[one], row))
    # Photos are told apart from items by their place, whatever their ids are.
    joined = groups((f"{left:012d}", f"{right:012d}") for left, right in linked)
    rows = [[int(row) for row in group] for group in joined]
    catalog = [[items[row] for row in group if row < len(items)] for group in rows]
    copied = {
        photos[row - len(items)].query_id: members[0].item_id
        for group, members in zip(rows, catalog, strict=True)
        for row in group
        if row >= len(items) and members
    }
    found = NearDuplicates(
        items=tuple(
            tuple(item.item_id for item in members) for members in catalog if len(members) > 1
        ),
        products=groups(
            sorted({item.product_id for item in members}) for members in catalog if members
        ),
        queries=tuple(sorted(copied.items())),
    )
    return found, [photo for photo in photos if photo.query_id not in copied]


def counts(found: NearDuplicates, items: Mapping[str, Item]) -> dict[str, int]:
    """Returns the figures of the summary.

    Args:
        found: The groups.
        items: The checked items by id.
    """
    return {
        "groups": len(found.items),
        "items": sum(map(len, found.items)),
        "groups_across_products": len(across_products(found, items)),
        "products": sum(map(len, found.products)),
        "photos": len(found.queries),
    }


def across_products(found: NearDuplicates, items: Mapping[str, Item]) -> list[tuple[str, ...]]:
    """Returns the groups of items that show more than one product."""
    return [group for group in found.items if len({items[one].product_id for one in group}) > 1]


def copied_photos(copies: NearDuplicates, source: Path | None) -> list[Reject]:
    """Returns the photos that are left out, each with the item that it shows a copy of."""
    return [
        Reject(
            "query",
            query,
            str(source),
            0,
            "copy_of_catalog_image",
            f"expected a shopper's own photo, received a copy of the image of item {item}: "
            "finding it proves nothing, so it is not asked",
        )
        for query, item in copies.queries
    ]
