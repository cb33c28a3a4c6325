"""Images that are copies of one another, and which products and photos they tie together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.contracts.errors import InputError
from components.contracts.files import read_json, write_json
from components.contracts.fingerprint import COLOUR_BYTES, FINGERPRINT_BYTES, HASH_BYTES

NEAR_DUPLICATES_FILE = "near_duplicates.json"
_FORMAT = 1

# Measured on homegoods (8,904 images of 742 products, sockets and doors that only a close look
# tells apart): no two images of different products pass all three; of copies at half the size or
# JPEG quality 40 it finds 98%, of those 5% darker all, 5% lighter 79% (white products clip).
MAX_DISTANCE = 6
"""Most of the 64 bits of the hash in which copies differ."""
MAX_COLOUR = 24
"""Largest difference of any mean colour, in levels of 255."""
MIN_DETAIL = 0.994
"""Smallest cosine of the detail."""

# With 6 bits wrong, 3 of 9 parts of the hash are right: what shares no three is never compared.
_PARTS, _SHARED = 9, 3
_VERIFIED_AT_ONCE = 65_536

Pairs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NearDuplicates:
    """What the catalog step found.

    Attributes:
        items: Groups of items whose images are copies of one another, two or more each.
        products: Groups of products that share such images, directly or through others.
        queries: Query id to an item whose image the photo is a copy of.
    """

    items: tuple[tuple[str, ...], ...] = ()
    products: tuple[tuple[str, ...], ...] = ()
    queries: tuple[tuple[str, str], ...] = ()

    def write(self, path: Path) -> None:
        """Writes the groups as JSON."""
        write_json(path, {"format": _FORMAT, **asdict(self)})

    @classmethod
    def read(cls, path: Path) -> NearDuplicates:
        """Reads what `write` wrote; nothing where an earlier release checked the catalog."""
        if not path.exists():
            return cls()
        value = read_json(path)
        if value.pop("format", None) != _FORMAT:
            raise InputError(f"{path}: expected format {_FORMAT}; run the catalog step again")
        return cls(**{name: tuple(map(tuple, groups)) for name, groups in value.items()})


def groups(members: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Joins sets that have a member in common; returns those of two or more, sorted."""
    parent: dict[str, str] = {}

    def root(one: str) -> str:
        while parent.setdefault(one, one) != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for first, *others in members:
        for other in others:
            low, high = sorted((root(first), root(other)))
            parent[high] = low
    found: dict[str, list[str]] = {}
    for one in sorted(parent):
        found.setdefault(root(one), []).append(one)
    return tuple(tuple(group) for _, group in sorted(found.items()) if len(group) > 1)


def pairs(prints: npt.NDArray[np.uint8]) -> Pairs:
    """Returns the pairs of images that are copies of one another.

    Every pair within the three bounds above is found, but of images with the very same fingerprint
    only each one with the first. No two images are compared that do not share three parts of
    their hash, so it takes time by catalog and not by its square: the tables of Manku, Jain and
    Das Sarma, "Detecting near-duplicates for web crawling" (WWW 2007).

    Args:
        prints: uint8 `[images, FINGERPRINT_BYTES]`.

    Returns:
        int64 `[pairs, 2]`, rows and both columns in order.
    """
    packed = np.ascontiguousarray(prints).view(f"V{FINGERPRINT_BYTES}").ravel()
    # One picture may stand for ten thousand products; fifty million pairs would say no more.
    order = np.argsort(packed, kind="stable")
    begins = np.ones(len(order), np.bool_)
    begins[1:] = packed[order][1:] != packed[order][:-1]
    firsts = order[begins]
    same = np.stack([firsts[np.cumsum(begins) - 1], order], axis=1)[~begins]
    found = [same.astype(np.int64), *_similar(prints, np.sort(firsts))]
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _similar(prints: npt.NDArray[np.uint8], rows: Pairs) -> Iterator[Pairs]:
    hashes = prints[rows, :HASH_BYTES].copy().view(">u8").ravel().astype(np.uint64)
    bounds = [64 * part // _PARTS for part in range(_PARTS + 1)]
    masks = [(1 << end) - (1 << start) for start, end in itertools.pairwise(bounds)]
    for chosen in itertools.combinations(masks, _SHARED):
        keys = hashes & np.uint64(sum(chosen))
        order = np.argsort(keys, kind="stable")
        keys, sorted_hashes = keys[order], hashes[order]
        left = np.arange(len(order) - 1)
        step = 1
        # Each row with the next of its table, then with the one after that, while they share it.
        while len(left := left[left + step < len(order)]):
            left = left[keys[left] == keys[left + step]]
            distance = np.bitwise_count(sorted_hashes[left] ^ sorted_hashes[left + step])
            near = left[distance <= MAX_DISTANCE]
            if len(near):
                yield _verified(prints, rows[order[near]], rows[order[near + step]])
            step += 1


def _verified(prints: npt.NDArray[np.uint8], left: Pairs, right: Pairs) -> Pairs:
    kept = [np.empty((0, 2), np.int64)]
    for start in range(0, len(left), _VERIFIED_AT_ONCE):
        ours, theirs = (side[start : start + _VERIFIED_AT_ONCE] for side in (left, right))
        is_copy = copies(prints[ours], prints[theirs])
        kept.append(np.stack([ours[is_copy], theirs[is_copy]], axis=1))
    return np.concatenate(kept)


def copies(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Says which images are copies of the ones beside them, by colours and detail.

    Args:
        left: uint8 `[images, FINGERPRINT_BYTES]`.
        right: The same.

    Returns:
        bool `[images]`.
    """
    end = HASH_BYTES + COLOUR_BYTES
    colours = [side[:, HASH_BYTES:end].astype(np.int16) for side in (left, right)]
    ours, theirs = (side[:, end:].view(np.int8).astype(np.float32) for side in (left, right))
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosine = np.einsum("ij,ij->i", ours, theirs) / norms
    within = np.abs(colours[0] - colours[1]).max(axis=1) <= MAX_COLOUR
    return np.asarray(within & (cosine >= MIN_DETAIL), np.bool_)
