"""The curated tree of product types: reading, checking, and class ids that survive from day to day.

The table is `taxon_id,parent_id,name`: one root (empty parent), no cycles, unique ids, sibling
names unique. A checked taxonomy has three more columns, `class_id,status,redirect`: a class id
never changes its meaning, so a new node gets the next free number and a node that left the table
is kept as `retired`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from components.contracts.errors import InputError
from components.contracts.files import sha256_bytes, write_atomically
from components.contracts.taxonomy_checks import problems_of

COLUMNS = ("taxon_id", "parent_id", "name")
CHECKED_COLUMNS = (*COLUMNS, "class_id", "status", "redirect")
# A message that lists a thousand bad rows helps nobody; the count is always given.
_MOST_PROBLEMS_SHOWN = 20


@dataclass(frozen=True)
class Taxon:
    """One node.

    Attributes:
        taxon_id: The curator's id, unique in the table.
        parent_id: The parent's id; empty for the root.
        name: What people read.
        class_id: The number that models use; stable across versions.
        status: `active` or `retired`.
        redirect: The node that took this one's place, or empty.
    """

    taxon_id: str
    parent_id: str
    name: str
    class_id: int
    status: str = "active"
    redirect: str = ""


class Taxonomy:
    """A checked tree. Build one with `parse`, `read` or `Taxonomy(taxa)`."""

    def __init__(
        self,
        taxa: Sequence[Taxon],
        *,
        source: str = "taxonomy",
        rows: Sequence[int] | None = None,
    ) -> None:
        """Checks the tree.

        Args:
            taxa: Every node, retired ones included.
            source: What to call the table in errors.
            rows: Each node's row in that table; consecutive below a header when None.

        Raises:
            InputError: With every problem of the tree at once.
        """
        problems = problems_of(taxa, rows or range(2, len(taxa) + 2))
        if problems:
            shown = problems[:_MOST_PROBLEMS_SHOWN]
            more = len(problems) - len(shown)
            lines = "".join(f"\n  - {problem}" for problem in shown)
            tail = f"\n  - and {more} more" if more else ""
            raise InputError(f"{source}: the taxonomy cannot be used:{lines}{tail}")
        self.taxa = tuple(taxa)
        self._by_id = {taxon.taxon_id: taxon for taxon in taxa}
        self._active = tuple(taxon for taxon in taxa if taxon.status == "active")

    @cached_property
    def root(self) -> str:
        """The root's id."""
        return next(taxon.taxon_id for taxon in self._active if not taxon.parent_id)

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        children: dict[str, list[str]] = {taxon.taxon_id: [] for taxon in self._active}
        for taxon in self._active:
            if taxon.parent_id:
                children[taxon.parent_id].append(taxon.taxon_id)
        return children

    def __contains__(self, taxon_id: object) -> bool:
        """Whether `taxon_id` is an active node."""
        taxon = self._by_id.get(taxon_id) if isinstance(taxon_id, str) else None
        return taxon is not None and taxon.status == "active"

    def __getitem__(self, taxon_id: str) -> Taxon:
        """Returns the node, retired ones included; KeyError when there is none."""
        return self._by_id[taxon_id]

    def children(self, taxon_id: str) -> list[str]:
        """Returns the active children's ids in table order."""
        return list(self._children[taxon_id])

    def is_leaf(self, taxon_id: str) -> bool:
        """Whether an active node has no active children."""
        return not self._children[taxon_id]

    @cached_property
    def leaves(self) -> tuple[str, ...]:
        """The active leaves' ids in table order."""
        return tuple(t.taxon_id for t in self._active if not self._children[t.taxon_id])

    @cached_property
    def departments(self) -> tuple[str, ...]:
        """The ids of the root's children in table order."""
        return tuple(self._children[self.root])

    @cached_property
    def _paths(self) -> dict[str, tuple[str, ...]]:
        paths: dict[str, tuple[str, ...]] = {self.root: ()}
        stack = [self.root]
        while stack:
            parent = stack.pop()
            for child in self._children[parent]:
                paths[child] = (*paths[parent], child)
                stack.append(child)
        return paths

    def path(self, taxon_id: str) -> tuple[str, ...]:
        """Returns the ids from the department down to the node itself, the root left out."""
        return self._paths[taxon_id]

    def department(self, taxon_id: str) -> str:
        """Returns the department above (or at) a node; the root's own id for the root."""
        path = self._paths[taxon_id]
        return path[0] if path else taxon_id

    def names(self, taxon_id: str) -> str:
        """Returns the path as people read it, such as `Seating > Sofas`."""
        return " > ".join(self._by_id[node].name for node in self._paths[taxon_id])

    @cached_property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """The active nodes by depth, departments first; the root is left out."""
        deepest = max((len(path) for path in self._paths.values()), default=0)
        return tuple(
            tuple(t.taxon_id for t in self._active if len(self._paths[t.taxon_id]) == depth)
            for depth in range(1, deepest + 1)
        )

    def class_id(self, taxon_id: str) -> int:
        """Returns the stable number of a node."""
        return self._by_id[taxon_id].class_id

    def successor(self, taxon_id: str) -> str:
        """Returns the active node that stands for this one today; empty when none does.

        That is the node itself while it is active; for a merged one, where its redirects lead.
        """
        while taxon_id in self._by_id and taxon_id not in self:
            taxon_id = self._by_id[taxon_id].redirect
        return taxon_id if taxon_id in self else ""

    def common_ancestor(self, first: str, second: str) -> str:
        """Returns the deepest node above (or at) both."""
        ancestor = self.root
        for one, other in zip(self._paths[first], self._paths[second], strict=False):
            if one != other:
                break
            ancestor = one
        return ancestor

    @property
    def digest(self) -> str:
        """SHA-256 of the checked table."""
        return sha256_bytes(self.to_csv().encode())

    def to_csv(self) -> str:
        """Returns the checked table as CSV text."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(CHECKED_COLUMNS)
        for t in self.taxa:
            writer.writerow((t.taxon_id, t.parent_id, t.name, t.class_id, t.status, t.redirect))
        return buffer.getvalue()

    def write(self, path: Path) -> None:
        """Writes the checked table atomically."""
        write_atomically(path, self.to_csv())

    @classmethod
    def read(cls, path: Path) -> Taxonomy:
        """Reads a taxonomy table, checked or not.

        Raises:
            InputError: The file cannot be read or the tree cannot be used.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: the taxonomy cannot be read ({error.strerror})") from None
        return cls.parse(data, source=str(path))

    @classmethod
    def parse(cls, data: bytes, *, source: str = "taxonomy") -> Taxonomy:
        """Parses a taxonomy table; rows without a class id are numbered in table order.

        Raises:
            InputError: With every problem found, each with its row.
        """
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            row = data[: error.start].count(b"\n") + 1
            raise InputError(
                f"{source}, row {row}: expected UTF-8 text, received byte "
                f"0x{data[error.start]:02x}; save the table as UTF-8"
            ) from None
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            header = tuple(name.strip() for name in next(reader, []))
            # An empty line is no node, but it counts: rows are numbered as an editor shows them.
            records = {row: cells for row, cells in enumerate(reader, start=2) if any(cells)}
        except csv.Error as error:
            raise InputError(
                f"{source}, line {reader.line_num}: expected CSV, received something else "
                f"({error}); is a quote left open?"
            ) from None
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            raise InputError(
                f"{source}: expected the columns {', '.join(COLUMNS)}; "
                f"missing {', '.join(missing)}; received {', '.join(header) or 'nothing'}"
            )
        for row, cells in records.items():
            if len(cells) != len(header):
                raise InputError(
                    f"{source}: the taxonomy cannot be used: row {row}: expected {len(header)} "
                    f"cells, received {len(cells)}"
                )
        table = [
            dict(zip(header, (cell.strip() for cell in cells), strict=True))
            for cells in records.values()
        ]
        numbers = [
            _class_id(record.get("class_id", ""), f"{source}, row {row}")
            for row, record in zip(records, table, strict=True)
        ]
        taken = set(numbers)
        free = (number for number in range(2 * len(table)) if number not in taken)
        taxa = [
            Taxon(
                taxon_id=record["taxon_id"],
                parent_id=record["parent_id"],
                name=record["name"],
                class_id=next(free) if number is None else number,
                status=record.get("status") or "active",
                redirect=record.get("redirect", ""),
            )
            for record, number in zip(table, numbers, strict=True)
        ]
        return cls(taxa, source=source, rows=list(records))

    def with_class_ids_of(self, previous: Taxonomy) -> Taxonomy:
        """Returns this tree numbered as `previous` was: new nodes appended, lost ones retired."""
        known = {taxon.taxon_id: taxon for taxon in previous.taxa}
        following = max((taxon.class_id for taxon in previous.taxa), default=-1) + 1
        taxa: list[Taxon] = []
        for taxon in self.taxa:
            if taxon.taxon_id in known:
                taxa.append(replace(taxon, class_id=known[taxon.taxon_id].class_id))
            else:
                taxa.append(replace(taxon, class_id=following))
                following += 1
        present = {taxon.taxon_id for taxon in self.taxa}
        taxa.extend(
            replace(taxon, status="retired")
            for taxon in previous.taxa
            if taxon.taxon_id not in present
        )
        return Taxonomy(taxa)


def _class_id(text: str, where: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise InputError(f"{where}: expected class_id as a whole number, received {text!r}")
    return int(text)
