"""Which classes a run trains: one set a level of the taxonomy, and one of products."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.errors import InputError
from components.contracts.files import sha256_bytes
from components.contracts.taxonomy import Taxonomy

UNKNOWN = -1
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class LabelSpace:
    """The rows of every classification head.

    Attributes:
        levels: For each level of the taxonomy, departments first, the class ids in row order.
        products: Product ids in row order, sorted.
        parents: For each level but the first, the row of each class's parent in the level above.
    """

    levels: tuple[tuple[int, ...], ...]
    products: tuple[str, ...]
    parents: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, taxonomy: Taxonomy, products: Iterable[str]) -> LabelSpace:
        """Returns the classes of a taxonomy's active nodes and of the given products."""
        nodes = [sorted(level, key=taxonomy.class_id) for level in taxonomy.levels]
        parents = []
        for above, level in itertools.pairwise(nodes):
            row = {node: number for number, node in enumerate(above)}
            parents.append(tuple(row[taxonomy.path(node)[-2]] for node in level))
        return cls(
            levels=tuple(tuple(taxonomy.class_id(node) for node in level) for level in nodes),
            products=tuple(sorted(set(products))),
            parents=tuple(parents),
        )

    @property
    def digest(self) -> str:
        """SHA-256 over the levels' class ids: what the embedding was taught to tell apart."""
        lines = ["\t".join(map(str, level)) for level in self.levels]
        return sha256_bytes("\n".join(lines).encode())

    def level_names(self) -> tuple[str, ...]:
        """Returns a short name a level: `department`, then `level_2` and so on, last `leaf`."""
        count = len(self.levels)
        names = [f"level_{number}" for number in range(1, count + 1)]
        if count:
            names[0] = "department"
            names[-1] = "leaf"
        return tuple(names)

    def rows(self) -> npt.NDArray[np.int32]:
        """Returns a table from class id to its row in its level's head, -1 where there is none.

        Returns:
            int32 `[largest class id + 2]`; the last entry is -1, so that index -1 means unknown.
        """
        largest = max((class_id for level in self.levels for class_id in level), default=0)
        table = np.full(largest + 2, UNKNOWN, np.int32)
        for level in self.levels:
            table[list(level)] = np.arange(len(level), dtype=np.int32)
        return table

    def groups(self, level: int) -> tuple[npt.NDArray[np.int32], ...]:
        """Returns which classes of a level are kin: one grouping for each level above it.

        Args:
            level: Number of the level, departments are 0.

        Returns:
            For each level above, the nearest first, the row of each class's ancestor there, int32
            `[classes]`.
        """
        found = []
        rows = np.arange(len(self.levels[level]), dtype=np.int32)
        for parents in reversed(self.parents[:level]):
            rows = np.array(parents, np.int32)[rows]
            found.append(rows)
        return tuple(found)

    def check(self, paths: Iterable[Sequence[int]]) -> None:
        """Refuses label paths that this taxonomy does not have.

        Args:
            paths: Class ids from the department down, as the examples store them.

        Raises:
            InputError: A class id is not at its place in the taxonomy.
        """
        known = [frozenset(level) for level in self.levels]
        for path in paths:
            for depth, class_id in enumerate(path):
                if depth >= len(known) or class_id not in known[depth]:
                    raise InputError(
                        f"examples: class id {class_id} at level {depth + 1} of label path "
                        f"{list(path)} is not an active node of the taxonomy there; the examples "
                        "come from another taxonomy: run transform again with this one"
                    )

    def to_mapping(self) -> dict[str, Any]:
        """Returns plain values that `from_mapping` reads back."""
        return {
            "levels": [list(level) for level in self.levels],
            "products": list(self.products),
            "parents": [list(level) for level in self.parents],
        }

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> LabelSpace:
        """Reads what `to_mapping` returned."""
        levels = tuple(tuple(int(class_id) for class_id in level) for level in values["levels"])
        parents = tuple(tuple(int(row) for row in level) for level in values["parents"])
        return cls(levels=levels, products=tuple(values["products"]), parents=parents)


@dataclass(frozen=True)
class EmptyLeaves:
    """The leaves of the taxonomy that no training example shows, as people read them, by reason.

    Attributes:
        total: How many leaves the taxonomy has.
        no_image: No example shows them.
        rare: transform trains their few images at an ancestor.
        held_out: All their products are among those that are never trained on.
    """

    total: int
    no_image: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        taxonomy: Taxonomy,
        *,
        trained: Collection[int],
        held_out: Collection[int],
        rare: Collection[str],
    ) -> EmptyLeaves:
        """Sorts the leaves without a training example by why there is none.

        Args:
            taxonomy: The checked taxonomy.
            trained: The class ids that training examples have.
            held_out: The class ids that examples of the products held out have.
            rare: The taxa that transform trains at an ancestor.
        """
        found: dict[str, list[str]] = {"no_image": [], "rare": [], "held_out": []}
        for leaf in taxonomy.leaves:
            if taxonomy.class_id(leaf) in trained:
                continue
            held = taxonomy.class_id(leaf) in held_out
            reason = "rare" if leaf in rare else "held_out" if held else "no_image"
            found[reason].append(taxonomy.names(leaf))
        return cls(len(taxonomy.leaves), **{name: tuple(names) for name, names in found.items()})

    def refuse(self) -> None:
        """Refuses leaves that no example shows: nothing can be learnt of them.

        Raises:
            InputError: There is such a leaf; the message names the first few.
        """
        if self.no_image:
            count = len(self.no_image)
            raise InputError(
                f"examples: expected an image of each of the {self.total} leaves of the taxonomy, "
                f"received none of {count} ({some(self.no_image, count)}); give images of "
                "them, take them out of the taxonomy, which retires them, or set "
                "train.empty_leaves=allow to train without"
            )

    def to_mapping(self) -> dict[str, Any]:
        """Returns, for the model card, how many there are and the first few of each reason."""
        reasons = {"no_image": self.no_image, "rare": self.rare, "held_out": self.held_out}
        return {
            "leaves": self.total,
            "empty": sum(map(len, reasons.values())),
            **{
                reason: {"count": len(names), "names": list(names[:_NAMES_SHOWN])}
                for reason, names in reasons.items()
            },
        }


def some(names: Sequence[str], count: int) -> str:
    """Returns the first few of `count` names, between semicolons: names have commas in them."""
    shown = names[:_NAMES_SHOWN]
    more = count - len(shown)
    return "; ".join([*shown, *([f"{more} more"] if more else [])])
