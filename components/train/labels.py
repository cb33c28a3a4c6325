"""Which classes a run trains: one set a level of the taxonomy, and one of products."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.errors import InputError
from components.contracts.files import sha256_bytes
from components.contracts.taxonomy import Taxonomy

UNKNOWN = -1


@dataclass(frozen=True)
class LabelSpace:
    """The rows of every classification head.

    Attributes:
        levels: For each level of the taxonomy, departments first, the class ids in row order.
        products: Product ids in row order, sorted.
    """

    levels: tuple[tuple[int, ...], ...]
    products: tuple[str, ...]

    @classmethod
    def of(cls, taxonomy: Taxonomy, products: Iterable[str]) -> LabelSpace:
        """Returns the classes of a taxonomy's active nodes and of the given products."""
        levels = tuple(
            tuple(sorted(taxonomy.class_id(node) for node in level)) for level in taxonomy.levels
        )
        return cls(levels=levels, products=tuple(sorted(set(products))))

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
        return {"levels": [list(level) for level in self.levels], "products": list(self.products)}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> LabelSpace:
        """Reads what `to_mapping` returned."""
        levels = tuple(tuple(int(class_id) for class_id in level) for level in values["levels"])
        return cls(levels=levels, products=tuple(values["products"]))
