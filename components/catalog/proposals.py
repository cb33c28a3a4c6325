"""New nodes that the crowd proposes: from single ideas to candidates for the curator.

The table is `item_id,worker_id,parent_id,name` (the item's column may be called `item` or
`image_id`, the worker's `worker`, the parent's `parent`). Nothing is ever added to a taxonomy here:
a candidate is a row that a curator may append.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from components.catalog.config import CatalogConfig
from components.catalog.tables import Table
from components.contracts.catalog import Reject
from components.contracts.errors import InputError
from components.contracts.taxonomy import Taxonomy

COLUMNS = {
    "item": ("item_id", "item", "image_id"),
    "worker": ("worker_id", "worker"),
    "parent": ("parent_id", "parent"),
    "name": ("name",),
}
_LONGEST_NAME = 80
_EXAMPLES = 20


@dataclass(frozen=True)
class Candidate:
    """A node that enough of the crowd asks for.

    Attributes:
        taxon_id: An id that is free in the taxonomy, made of the name.
        parent_id: Where it would hang.
        name: The spelling most often given.
        workers: How many different reliable workers proposed it.
        items: For how many different items.
        agreement: Share, in [0, 1], of the reliable workers' proposals below that parent and for
            those items that ask for this name.
        examples: Some of the items.
    """

    taxon_id: str
    parent_id: str
    name: str
    workers: int
    items: int
    agreement: float
    examples: tuple[str, ...]


def normalised(name: str) -> str:
    """Returns what two spellings of a name have in common.

    Case, accents, punctuation and spaces are dropped, and an English plural's ending of each word:
    `Bar-Stools`, `bar stool` and `Bar  stools` are one.
    """
    letters = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(_singular(word) for word in re.findall(r"\w+", plain.replace("_", " ")))


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if re.search(r"(ch|sh|x|ss|z)es$", word):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def candidates_of(
    table: Table,
    *,
    taxonomy: Taxonomy,
    known: Collection[str],
    unreliable: Collection[str],
    config: CatalogConfig,
) -> tuple[list[Candidate], list[Reject]]:
    """Returns the proposals that pass the thresholds, and the rows set aside.

    One worker counts once for an item below a parent (the first row). A name that the parent's
    children already have, or had under a node that is retired, is no proposal.

    Args:
        table: The proposals.
        taxonomy: The tree.
        known: Every item id of the catalog.
        unreliable: Workers whose votes were set aside; their proposals are, too.
        config: Thresholds: workers, items and agreement.

    Raises:
        InputError: A column is missing.
    """
    names = {what: _column(table, what) for what in COLUMNS}
    rejects = [
        Reject("proposal", "", table.source, bad.row, "bad_row", bad.detail)
        for bad in table.bad_rows
    ]
    taken = {(t.parent_id, normalised(t.name)) for t in taxonomy.taxa}
    seen: set[tuple[str, str, str]] = set()
    groups: dict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
    for row, cells in table.records():
        item, worker, parent, name = (cells[names[what]] for what in COLUMNS)
        parent = taxonomy.successor(parent) or parent
        key = normalised(name)
        problem = None
        if item not in known:
            problem = ("unknown_item", f"expected an item of the catalog, received {item!r}")
        elif not worker:
            problem = ("empty_id", "expected a worker, received nothing")
        elif worker in unreliable:
            problem = ("unreliable_worker", f"worker {worker!r} is set aside as a voter")
        elif parent not in taxonomy:
            problem = ("unknown_taxon", f"expected a node of the taxonomy, received {parent!r}")
        elif not key or len(name) > _LONGEST_NAME or not name.isprintable():
            problem = (
                "bad_name",
                f"expected a name of up to {_LONGEST_NAME} printable characters, received "
                f"{name[:40]!r}",
            )
        elif (parent, key) in taken:
            problem = ("name_taken", f"{parent!r} has or had a child called {name!r}")
        elif (item, worker, parent) in seen:
            problem = ("duplicate_proposal", "the worker's first proposal for the item counts")
        if problem:
            rejects.append(Reject("proposal", item, table.source, row, *problem))
            continue
        seen.add((item, worker, parent))
        groups[parent, key].append((item, worker, name))
    return _passing(groups, taxonomy, config), rejects


def _passing(
    groups: Mapping[tuple[str, str], list[tuple[str, str, str]]],
    taxonomy: Taxonomy,
    config: CatalogConfig,
) -> list[Candidate]:
    asked: Counter[tuple[str, str]] = Counter()
    for (parent, _), rows in groups.items():
        asked.update((parent, item) for item, _, _ in rows)
    ids = {taxon.taxon_id for taxon in taxonomy.taxa}
    found: list[Candidate] = []
    for (parent, key), rows in sorted(groups.items()):
        items = Counter(item for item, _, _ in rows)
        workers = {worker for _, worker, _ in rows}
        agreement = len(rows) / sum(asked[parent, item] for item in items)
        if (
            len(workers) < config.proposal_workers
            or len(items) < config.proposal_items
            or agreement < config.proposal_agreement
        ):
            continue
        spelt = Counter(name for _, _, name in rows)
        name = min(spelt, key=lambda text: (-spelt[text], text))
        base = taxon_id = key.replace(" ", "-")
        number = 2
        while taxon_id in ids:
            taxon_id, number = f"{base}-{number}", number + 1
        ids.add(taxon_id)
        examples = tuple(item for item, _ in items.most_common(_EXAMPLES))
        found.append(
            Candidate(taxon_id, parent, name, len(workers), len(items), agreement, examples)
        )
    return sorted(found, key=lambda one: (-one.workers, -one.items, one.taxon_id))


def _column(table: Table, what: str) -> str:
    for name in COLUMNS[what]:
        if name in table.columns:
            return name
    raise InputError(
        f"proposals {table.source}: expected a column {' or '.join(COLUMNS[what])}, received "
        f"{', '.join(table.columns) or 'none'}"
    )
