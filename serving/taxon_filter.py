"""Which items lie in a part of the taxonomy."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

from components.contracts.errors import InputError
from components.contracts.taxonomy import Taxonomy
from components.search.query import Part
from serving.item_table import ItemTable

_KEPT = 64
_MOST_NAMES_SHOWN = 12


class TaxonFilter:
    """Finds a bundle's items by department or by any node of its taxonomy."""

    def __init__(self, taxonomy: Taxonomy, items: ItemTable) -> None:
        """Keeps both; parts are worked out when they are first asked for."""
        self._taxonomy = taxonomy
        self._items = items
        # The nodes at and above each label that occurs, the root left out.
        self._paths = [
            set(taxonomy.path(taxon_id)) if taxon_id in taxonomy else set()
            for taxon_id in items.taxon_ids
        ]
        self._parts: OrderedDict[str, Part] = OrderedDict()
        self._lock = threading.Lock()

    def resolve(self, department: str, taxon: str) -> str:
        """Returns the node that both parameters mean; empty when neither is given.

        Args:
            department: Id or name (upper and lower case alike) of a child of the root, or empty.
            taxon: Id of any node, or empty; one that was merged into another means that one.

        Raises:
            InputError: There is no such node, or the taxon is not in the department.
        """
        top = self._department(department) if department else ""
        node = self._node(taxon) if taxon else ""
        if top and node and node != self._taxonomy.root and top not in self._taxonomy.path(node):
            raise InputError(
                f"taxon {taxon!r} is not in department {department!r}: give one, or two that agree"
            )
        if node in ("", self._taxonomy.root):
            return top
        return node

    def part(self, taxon_id: str) -> Part:
        """Returns the items at or below an active node."""
        with self._lock:
            part = self._parts.get(taxon_id)
            if part is not None:
                self._parts.move_to_end(taxon_id)
                return part
        inside = np.asarray([taxon_id in path for path in self._paths], np.bool_)
        mask = inside[self._items.taxa]
        part = Part(taxon_id, mask, np.flatnonzero(mask))
        with self._lock:
            self._parts[taxon_id] = part
            while len(self._parts) > _KEPT:
                self._parts.popitem(last=False)
        return part

    def departments(self) -> list[tuple[str, str]]:
        """Returns the departments' ids and names in the taxonomy's order."""
        return [(node, self._taxonomy[node].name) for node in self._taxonomy.departments]

    def _node(self, taxon: str) -> str:
        seen = set()
        node = taxon
        while node not in self._taxonomy:
            seen.add(node)
            try:
                node = self._taxonomy[node].redirect
            except KeyError:
                node = ""
            if not node or node in seen:
                raise InputError(f"taxon {_shown(taxon)}: expected the id of a taxonomy's node")
        return node

    def _department(self, department: str) -> str:
        wanted = department.strip().casefold()
        for node, name in self.departments():
            if department == node or wanted == name.casefold():
                return node
        known = [name for _, name in self.departments()]
        more = ", ..." if len(known) > _MOST_NAMES_SHOWN else ""
        raise InputError(
            f"department {_shown(department)}: expected one of "
            f"{', '.join(known[:_MOST_NAMES_SHOWN])}{more}"
        )


def _shown(text: str) -> str:
    return repr(text[:100])
