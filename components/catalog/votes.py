"""Votes in the form that the arithmetic needs: integer codes in arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.tables import Table
from components.contracts.catalog import Reject
from components.contracts.taxonomy import Taxonomy

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
ITEM_COLUMNS = ("item_id", "image_id")


@dataclass(frozen=True)
class Votes:
    """Usable votes; at most one for an item by a worker.

    Attributes:
        items: int64 [votes], index into `item_ids`.
        workers: int64 [votes], index into `worker_ids`.
        nodes: int64 [votes], index into `node_ids`.
        item_ids: The items that have votes.
        worker_ids: The workers that voted.
        node_ids: The active nodes of the taxonomy.
    """

    items: Codes
    workers: Codes
    nodes: Codes
    item_ids: tuple[str, ...]
    worker_ids: tuple[str, ...]
    node_ids: tuple[str, ...]

    def __len__(self) -> int:
        """How many votes there are."""
        return int(self.items.size)


def encode(
    table: Table, *, taxonomy: Taxonomy, item_column: str, known: Mapping[str, bool]
) -> tuple[Votes, list[Reject]]:
    """Checks votes and turns them into codes.

    Args:
        table: The votes.
        taxonomy: Votes may name any active node.
        item_column: `item_id` or `image_id`.
        known: Every item id of the catalog's table; True where the item passed its own checks.

    Returns:
        The usable votes and the votes that were set aside.
    """
    node_ids = tuple(taxon.taxon_id for taxon in taxonomy.taxa if taxon.taxon_id in taxonomy)
    codes_of = {node: code for code, node in enumerate(node_ids)}
    # A vote for a merged node is one for the node that took its place.
    nodes = {
        taxon.taxon_id: codes_of[successor]
        for taxon in taxonomy.taxa
        if (successor := taxonomy.successor(taxon.taxon_id))
    }
    items: dict[str, int] = {}
    workers: dict[str, int] = {}
    codes: list[tuple[int, int, int]] = []
    places: list[int] = []
    rejects = [
        Reject("vote", "", table.source, bad.row, "bad_row", bad.detail) for bad in table.bad_rows
    ]
    columns = (table.column(item_column), table.column("worker_id"), table.column("taxon_id"))
    for place, (item, worker, taxon) in enumerate(zip(*columns, strict=True)):
        problem = _problem(item, worker, taxon, nodes, known)
        if problem:
            rejects.append(Reject("vote", item, table.source, table.rows[place], *problem))
            continue
        codes.append(
            (
                items.setdefault(item, len(items)),
                workers.setdefault(worker, len(workers)),
                nodes[taxon],
            )
        )
        places.append(place)
    array = np.array(codes, dtype=np.int64).reshape(-1, 3)
    first = np.zeros(len(array), dtype=bool)
    # np.unique gives the first place of each value: the first vote of a worker counts.
    _, firsts = np.unique(array[:, 0] * max(len(workers), 1) + array[:, 1], return_index=True)
    first[firsts] = True
    for index in np.flatnonzero(~first).tolist():
        place = places[index]
        rejects.append(
            Reject(
                "vote",
                columns[0][place],
                table.source,
                table.rows[place],
                "duplicate_vote",
                f"expected one vote an item by worker {columns[1][place]!r}, received another; "
                "the first counts",
            )
        )
    kept = array[first]
    votes = Votes(kept[:, 0], kept[:, 1], kept[:, 2], tuple(items), tuple(workers), node_ids)
    return votes, rejects


def _problem(
    item: str, worker: str, taxon: str, nodes: Mapping[str, int], known: Mapping[str, bool]
) -> tuple[str, str] | None:
    if not item:
        return "empty_id", "expected an item, received nothing"
    if not worker:
        return "empty_id", "expected a worker_id, received nothing"
    if item not in known:
        return "unknown_item", f"expected an item of the catalog, received {item!r}"
    if not known[item]:
        return "item_set_aside", f"item {item!r} was set aside itself"
    if taxon not in nodes:
        return "unknown_taxon", f"expected a node of the taxonomy, received {taxon!r}"
    return None


def node_paths(taxonomy: Taxonomy, node_ids: Sequence[str]) -> Codes:
    """Returns each node's path from the department down to itself.

    Returns:
        int64 [nodes, depth]: codes of the nodes on the path, padded with -1; the root's row is
        all -1.
    """
    codes = {node: code for code, node in enumerate(node_ids)}
    depth = max(len(taxonomy.levels), 1)
    paths = np.full((len(node_ids), depth), -1, dtype=np.int64)
    for code, node in enumerate(node_ids):
        path = taxonomy.path(node)
        paths[code, : len(path)] = [codes[step] for step in path]
    return paths


def leaf_counts(taxonomy: Taxonomy, node_ids: Sequence[str]) -> npt.NDArray[Any]:
    """Returns how many leaves lie below (or at) each node: float64 [nodes]."""
    counts = dict.fromkeys(node_ids, 0.0)
    for leaf in taxonomy.leaves:
        for node in (taxonomy.root, *taxonomy.path(leaf)):
            counts[node] += 1.0
    return np.array([max(counts[node], 1.0) for node in node_ids])
