"""What counts as a right answer: by product, and by level of the taxonomy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from components.contracts.taxonomy import Taxonomy

Level = Literal["leaf", "department", "any"]
LEVELS: tuple[Level, ...] = ("leaf", "department", "any")


class Relevance:
    """Gains between nodes of one taxonomy.

    A gain is in [0, 1]. At level `leaf` it is 1 for the very same node, at `department` 1 for the
    same department; at `any` it is the share of the query's path, from the department down to its
    node, that the answer lies under.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        """Keeps the tree."""
        self.taxonomy = taxonomy
        self.gain = cache(self._gain)

    def is_leaf(self, taxon_id: str) -> bool:
        """Whether a label is a leaf of today's tree."""
        return taxon_id in self.taxonomy and self.taxonomy.is_leaf(taxon_id)

    def department(self, taxon_id: str) -> str:
        """Returns the department of a label; empty when the label says nothing of it."""
        if taxon_id not in self.taxonomy or taxon_id == self.taxonomy.root:
            return ""
        return self.taxonomy.department(taxon_id)

    def _gain(self, query: str, answer: str, level: Level) -> float:
        if query not in self.taxonomy or answer not in self.taxonomy:
            return 0.0
        path, other = self.taxonomy.path(query), self.taxonomy.path(answer)
        if not path:
            return 0.0
        if level == "leaf":
            return float(query == answer)
        if level == "department":
            return float(path[:1] == other[:1])
        shared = self.taxonomy.path(self.taxonomy.common_ancestor(query, answer))
        return len(shared) / len(path)


class Ideal:
    """The best answers that an index could give: one image a product."""

    def __init__(self, relevance: Relevance, labels: Iterable[tuple[str, str]]) -> None:
        """Counts products by label.

        Args:
            relevance: The gains.
            labels: (product id, taxon id) of every indexed item.
        """
        self._relevance = relevance
        self._taxa: dict[str, set[str]] = {}
        for product_id, taxon_id in labels:
            self._taxa.setdefault(product_id, set()).add(taxon_id)
        # Views of a product may be labelled differently; nearly all products have one label, and
        # those are counted instead of listed.
        self._single = Counter(next(iter(taxa)) for taxa in self._taxa.values() if len(taxa) == 1)
        self._several = [taxa for taxa in self._taxa.values() if len(taxa) > 1]
        self._best = cache(self._best_gains)

    def gains(
        self, queries: Sequence[tuple[str, str]], k: int, level: Level
    ) -> npt.NDArray[np.float64]:
        """Returns the gains of the best possible answers.

        Args:
            queries: (taxon id, product id left out of the answer or empty) of each query.
            k: Answers.
            level: Which gain.

        Returns:
            float64 `[queries, k]`, best first, 0 where nothing is left.
        """
        result = np.zeros((len(queries), k))
        for row, (taxon_id, left_out) in enumerate(queries):
            best = list(self._best(taxon_id, k + 1, level))
            if left_out in self._taxa:
                own = self._gain_of(taxon_id, self._taxa[left_out], level)
                if own in best:
                    best.remove(own)
            best = best[:k]
            result[row, : len(best)] = best
        return result

    def _gain_of(self, taxon_id: str, taxa: Iterable[str], level: Level) -> float:
        return max(self._relevance.gain(taxon_id, other, level) for other in taxa)

    def _best_gains(self, taxon_id: str, count: int, level: Level) -> tuple[float, ...]:
        gains = [self._gain_of(taxon_id, taxa, level) for taxa in self._several]
        for other, products in self._single.items():
            gain = self._relevance.gain(taxon_id, other, level)
            if gain > 0:
                gains.extend([gain] * min(products, count))
        return tuple(sorted(gains, reverse=True)[:count])
