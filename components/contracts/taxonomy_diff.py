"""What changed between two versions of a taxonomy, for curators: a table and a tree."""

from __future__ import annotations

import html
from collections import Counter
from dataclasses import dataclass

from components.contracts import page
from components.contracts.taxonomy import Taxon, Taxonomy

KINDS = ("added", "retired", "merged", "moved", "renamed", "renumbered", "returned")
_STYLE = (
    "<style>ul.tree,ul.tree ul{list-style:none;padding-left:1.1rem;margin:.1rem 0}"
    "ul.tree summary{cursor:pointer}ul.tree .added{color:var(--pass)}"
    "ul.tree .gone{color:var(--fail)}ul.tree .gone b{text-decoration:line-through}"
    "ul.tree .changed{color:var(--wait)}ul.tree b{font-weight:600}</style>"
)
_MARKS = {"added": "+", "returned": "+", "retired": "\N{MINUS SIGN}", "merged": "\N{MINUS SIGN}"}


@dataclass(frozen=True)
class Change:
    """One change of one node; a node that moved and got a new name has two.

    Attributes:
        kind: One of `KINDS`.
        taxon_id: The node.
        class_id: Its number in the newer version (in the older one when it is not in the newer).
        before: What it was: path, name or number; empty when added.
        after: What it is; the node that took its place when merged, empty when retired.
    """

    kind: str
    taxon_id: str
    class_id: int
    before: str
    after: str


def compare(old: Taxonomy, new: Taxonomy) -> list[Change]:
    """Returns the changes from `old` to `new`, by kind and then in table order.

    `new` is numbered as the pipeline would number it after `old`, unless it has numbers that say
    otherwise: that is the change `renumbered`, which trained models would not survive.
    """
    before = {taxon.taxon_id: taxon for taxon in old.taxa}
    after = {taxon.taxon_id: taxon for taxon in new.taxa}
    changes: list[Change] = []
    for node, taxon in after.items():
        changes.extend(_changes(old, new, before.get(node), taxon))
    changes.extend(
        Change("retired", node, taxon.class_id, old.names(node), "")
        for node, taxon in before.items()
        if node in old and node not in after
    )
    return sorted(changes, key=lambda change: KINDS.index(change.kind))


def _changes(old: Taxonomy, new: Taxonomy, before: Taxon | None, after: Taxon) -> list[Change]:
    node = after.taxon_id
    found: list[Change] = []

    def add(kind: str, was: str, is_: str) -> None:
        found.append(Change(kind, node, after.class_id, was, is_))

    if before is not None and before.class_id != after.class_id:
        add("renumbered", str(before.class_id), str(after.class_id))
    if node in new:
        if before is None:
            add("added", "", new.names(node))
        elif node not in old:
            add("returned", "", new.names(node))
        else:
            if before.parent_id != after.parent_id:
                add("moved", old.names(node), new.names(node))
            if before.name != after.name:
                add("renamed", before.name, after.name)
    elif node in old:
        target = new.successor(node)
        add("merged" if target else "retired", old.names(node), new.names(target) if target else "")
    return found


def rows(changes: list[Change]) -> list[tuple[str, str, int, str, str]]:
    """Returns the changes as cells of a table: kind, node, class id, before, after."""
    return [
        (change.kind, change.taxon_id, change.class_id, change.before, change.after)
        for change in changes
    ]


def render(old: Taxonomy, new: Taxonomy, changes: list[Change], *, title: str) -> str:
    """Returns a self-contained page: counts, the tree with its changes marked, and the table."""
    counts = Counter(change.kind for change in changes)
    tiles = page.tiles([(f"{counts[kind]:,}", kind) for kind in KINDS if counts[kind]])
    if not changes:
        return page.page(title, "<p>The two versions say the same.</p>")
    table = page.table(("change", "node", "class id", "before", "after"), rows(changes))
    tree = _Tree(old, new, changes).html()
    return page.page(
        title,
        f"{_STYLE}{tiles}<h2>Tree</h2><p class=muted>Branches without a change are closed. "
        f"+ new, \N{MINUS SIGN} gone, ~ changed.</p>{tree}<h2>Every change</h2>{table}",
    )


class _Tree:
    """The newer tree, with the nodes that left shown below the parent that they had."""

    def __init__(self, old: Taxonomy, new: Taxonomy, changes: list[Change]) -> None:
        self._new = new
        self._old = old
        self._changes: dict[str, list[Change]] = {}
        for change in changes:
            self._changes.setdefault(change.taxon_id, []).append(change)
        self._gone: dict[str, list[str]] = {}
        for change in changes:
            if change.kind in ("retired", "merged"):
                parent = old[change.taxon_id].parent_id
                # What lost its parent too hangs below it; a parent that is nowhere is the root.
                self._gone.setdefault(parent or new.root, []).append(change.taxon_id)
        self._touched: set[str] = set()
        for node in self._changes:
            place = new if node in new else old
            self._touched.update((place.root, *place.path(node)))

    def html(self) -> str:
        return f'<ul class="tree">{self._node(self._new.root)}</ul>'

    def _node(self, node: str) -> str:
        taxon = self._new[node] if node in self._new else self._old[node]
        changes = self._changes.get(node, [])
        kinds = {change.kind for change in changes}
        style = mark = ""
        if kinds:
            gone, added = kinds & {"retired", "merged"}, kinds & {"added", "returned"}
            style = "gone" if gone else "added" if added else "changed"
            mark = next((_MARKS[kind] for kind in kinds if kind in _MARKS), "~") + " "
        notes = "; ".join(_note(change) for change in changes)
        label = (
            f'<span class="{style}">{mark}<b>{html.escape(taxon.name)}</b> '
            f"<code>{html.escape(node)}</code>{html.escape(f' {notes}' if notes else '')}</span>"
        )
        active = self._new.children(node) if node in self._new else []
        below = [*active, *self._gone.get(node, [])]
        if not below:
            return f"<li>{label}</li>"
        opened = " open" if node in self._touched else ""
        inner = "".join(self._node(child) for child in below)
        return f"<li><details{opened}><summary>{label}</summary><ul>{inner}</ul></details></li>"


def _note(change: Change) -> str:
    if change.kind == "merged":
        return f"merged into {change.after}"
    if change.kind in ("moved", "renamed", "renumbered"):
        return f"{change.kind}, was {change.before}"
    return change.kind
