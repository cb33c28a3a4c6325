"""Leaves with too few examples to be a class: what they are trained as instead.

The policy: an item whose leaf has fewer training images than the minimum is trained at the nearest
ancestor that has as many, counting everything below it. Its own label stays what it is wherever it
is searched for, filtered or judged; only the classifier is not asked to tell apart what it has
hardly seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from components.contracts.taxonomy import Taxonomy


@dataclass(frozen=True)
class TrainedLabels:
    """What each label is trained as.

    Attributes:
        paths: For each label in the catalog, the nodes that it is trained as, the department first;
            empty where no ancestor but the root has enough images.
        images: For each node, how many training images lie at or below it.
        cut: The labels whose path is not their own.
    """

    paths: Mapping[str, tuple[str, ...]]
    images: Mapping[str, int]
    cut: tuple[str, ...]

    @classmethod
    def of(
        cls, taxonomy: Taxonomy, *, labels: Iterable[str], trained: Iterable[str], minimum: int
    ) -> TrainedLabels:
        """Cuts the paths.

        Args:
            taxonomy: The checked taxonomy.
            labels: The labels of the catalog, held-out products included.
            trained: The label of each training image.
            minimum: Fewest training images of a class; 1 cuts nothing that was seen at all.
        """
        images: Counter[str] = Counter()
        for label, count in Counter(trained).items():
            for node in taxonomy.path(label):
                images[node] += count
        paths = {}
        for label in sorted(set(labels)):
            path = taxonomy.path(label)
            # A label that was never trained on is judged by: nothing is learnt of it either way.
            while path and 0 < images[path[-1]] < minimum:
                path = path[:-1]
            paths[label] = path
        cut = tuple(label for label, path in paths.items() if path != taxonomy.path(label))
        return cls(paths, images, cut)
