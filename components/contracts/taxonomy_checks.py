"""What makes a table of nodes a tree that people and models can use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.contracts.taxonomy import Taxon


def problems_of(taxa: Sequence[Taxon], row_numbers: Sequence[int]) -> list[str]:
    """Returns everything that is wrong with a taxonomy's table, in words.

    Args:
        taxa: Every node, retired ones included.
        row_numbers: Each node's row in the table (the header is row 1).
    """
    problems: list[str] = []
    rows: dict[str, int] = {}
    numbers: dict[int, str] = {}
    active = [taxon for taxon in taxa if taxon.status == "active"]
    for row, taxon in zip(row_numbers, taxa, strict=True):
        if not taxon.taxon_id:
            problems.append(f"row {row}: expected a taxon_id, received nothing")
        elif taxon.taxon_id in rows:
            problems.append(
                f"row {row}: taxon_id {taxon.taxon_id!r} stands already in row "
                f"{rows[taxon.taxon_id]}; ids are unique"
            )
        else:
            rows[taxon.taxon_id] = row
        if not taxon.name:
            problems.append(f"row {row}: {taxon.taxon_id!r} has no name")
        if taxon.class_id in numbers:
            problems.append(
                f"row {row}: class_id {taxon.class_id} is taken by {numbers[taxon.class_id]!r}"
            )
        numbers.setdefault(taxon.class_id, taxon.taxon_id)
        if taxon.status not in ("active", "retired"):
            problems.append(f"row {row}: status {taxon.status!r}: expected 'active' or 'retired'")
    roots = [taxon.taxon_id for taxon in active if not taxon.parent_id]
    if len(roots) != 1:
        found = ", ".join(repr(root) for root in roots[:5]) or "none"
        problems.append(f"expected exactly one root (a row without parent_id), found {found}")
    active_ids = {taxon.taxon_id for taxon in active}
    problems.extend(
        f"row {rows.get(taxon.taxon_id, 0)}: the parent {taxon.parent_id!r} of "
        f"{taxon.taxon_id!r} is not in the table"
        for taxon in active
        if taxon.parent_id and taxon.parent_id not in active_ids
    )
    problems.extend(_cycles((taxon.taxon_id, taxon.parent_id) for taxon in active))
    problems.extend(_redirects(taxa, rows))
    problems.extend(_sibling_names(active, rows))
    return problems


def _redirects(taxa: Sequence[Taxon], rows: dict[str, int]) -> list[str]:
    """Returns what is wrong with the redirects of merged nodes."""
    problems = []
    for taxon in taxa:
        if not taxon.redirect:
            continue
        where = f"row {rows.get(taxon.taxon_id, 0)}: "
        if taxon.status == "active":
            problems.append(
                f"{where}{taxon.taxon_id!r} is active and redirects to {taxon.redirect!r}; only a "
                "retired node (status retired) gives its place to another"
            )
        elif taxon.redirect not in rows:
            problems.append(
                f"{where}{taxon.taxon_id!r} redirects to {taxon.redirect!r}, which is not in the "
                "table"
            )
    pairs = ((t.taxon_id, t.redirect) for t in taxa if t.status == "retired" and t.redirect)
    advice = "a redirect must end at a node in use"
    problems.extend(_cycles(pairs, kind="redirects in a cycle", advice=advice))
    return problems


def _cycles(
    links: Iterable[tuple[str, str]],
    *,
    kind: str = "cycle",
    advice: str = "a parent must lie nearer the root",
) -> list[str]:
    """Returns one problem for each cycle of links from a node to the next."""
    parent = dict(links)
    finished: set[str] = set()
    found: list[str] = []
    for start in parent:
        trail: dict[str, None] = {}
        node = start
        while node in parent and node not in finished and node not in trail:
            trail[node] = None
            node = parent[node]
        if node in trail:
            names = list(trail)
            loop = names[names.index(node) :]
            found.append(f"{kind}: {' -> '.join([*loop, node])}; {advice}")
        finished.update(trail)
    return found


def _sibling_names(taxa: Iterable[Taxon], rows: dict[str, int]) -> list[str]:
    seen: dict[tuple[str, str], str] = {}
    problems: list[str] = []
    for taxon in taxa:
        key = (taxon.parent_id, taxon.name.casefold())
        if taxon.name and key in seen and seen[key] != taxon.taxon_id:
            problems.append(
                f"row {rows.get(taxon.taxon_id, 0)}: {taxon.taxon_id!r} has the same name "
                f"{taxon.name!r} as its sibling {seen[key]!r}; a curator could not tell them apart"
            )
        seen.setdefault(key, taxon.taxon_id)
    return problems
