"""Which types the classifier takes for which, on products that it was never trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from components.contracts.taxonomy import Taxonomy
from components.train.config import TrainConfig
from components.train.data import Parser, unseen_batches
from components.train.encoder import encode
from components.train.labels import LabelSpace

_BATCH = 64
# Leaves in the matrix, and pairs in the list: what a person can take in.
_LEAVES, _PAIRS = 12, 20


def unseen_confusions(
    examples: Path,
    *,
    network: keras.Model,
    weights: Mapping[str, npt.NDArray[np.generic]],
    labels: LabelSpace,
    taxonomy: Taxonomy,
    config: TrainConfig,
    stored_size: int,
) -> dict[str, Any]:
    """Guesses the leaf of every image held out.

    Leaves may lie at several levels. The head of an image's own level guesses, so that a guess at
    a higher level than the deepest may be a node that has leaves below it.

    Args:
        examples: The examples directory.
        network: The trained network.
        weights: What `weights.npz` holds: the heads' prototypes are read from it.
        labels: The heads' rows.
        taxonomy: The checked taxonomy, for names.
        config: How the network sees images.
        stored_size: Side of the stored images, in pixels.

    Returns:
        See `summarise`; empty when nothing was held out or no leaf is known.
    """
    taxon_of = {taxonomy.class_id(node): node for level in taxonomy.levels for node in level}
    levels = [
        _Level(
            nodes := [taxon_of[class_id] for class_id in classes],
            np.array([taxonomy.is_leaf(node) for node in nodes]),
            _unit(weights[f"head_level_{number}/prototypes"]),
        )
        for number, classes in enumerate(labels.levels, start=1)
    ]
    truths: list[str] = []
    guesses: list[str] = []
    parser = Parser(labels, stored_size)
    for images, rows in unseen_batches(examples, parser=parser, batch_size=_BATCH):
        vectors = encode(
            network, images, input_size=config.input_size, flip_average=config.flip_average
        )
        found, known = vectors.numpy(), rows.numpy()
        for column, level in enumerate(levels):
            # A label that ends above the leaves says nothing of which leaf is right.
            own = (known[:, column] >= 0) & level.is_leaf[known[:, column]]
            best = (found[own] @ level.prototypes.T).argmax(axis=1)
            truths += [level.nodes[row] for row in known[own, column]]
            guesses += [level.nodes[row] for row in best]
    return summarise(truths, guesses, taxonomy=taxonomy)


@dataclass(frozen=True)
class _Level:
    """A level's nodes in the order of its head's rows, which of them are leaves, the prototypes."""

    nodes: list[str]
    is_leaf: npt.NDArray[np.bool_]
    prototypes: npt.NDArray[np.float64]


def _unit(rows: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    numbers = np.asarray(rows, np.float64)
    unit: npt.NDArray[np.float64] = numbers / np.linalg.norm(numbers, axis=1, keepdims=True)
    return unit


def summarise(truths: list[str], guesses: list[str], *, taxonomy: Taxonomy) -> dict[str, Any]:
    """Returns what is confused most.

    Args:
        truths: The leaf of each image.
        guesses: The first guess for it, a node at the same level.
        taxonomy: For names.

    Returns:
        `images` and `right`, also for each of the `departments` by name; `pairs`, the most
        frequent mistakes as label, guess, times and images of that label; `matrix`, how often each
        of the most confused leaves (`leaves`) was taken for each of them; `names` of the leaves.
        Empty without images.
    """
    if not truths:
        return {}
    counts = Counter(zip(truths, guesses, strict=True))
    of = Counter(truths)
    wrong = {pair: times for pair, times in counts.items() if pair[0] != pair[1]}
    # Equal counts in the order of the names: the page must not change from run to run.
    pairs = sorted(wrong.items(), key=lambda entry: (-entry[1], entry[0]))
    # The leaves of the most frequent mistakes, as many as fit: each such mistake has its cell.
    most: dict[str, None] = {}
    for pair, _ in pairs:
        if len(most | dict.fromkeys(pair)) <= _LEAVES:
            most |= dict.fromkeys(pair)
    # Siblings stand side by side: confusions within a family show as a block.
    leaves = sorted(most, key=lambda leaf: (taxonomy.path(leaf), leaf))
    shown = {leaf for pair, _ in pairs[:_PAIRS] for leaf in pair} | set(leaves)
    return {
        "images": len(truths),
        "right": len(truths) - sum(wrong.values()),
        "departments": _by_department(counts, taxonomy),
        "pairs": [
            {"label": label, "guess": guess, "times": times, "of": of[label]}
            for (label, guess), times in pairs[:_PAIRS]
        ],
        "leaves": leaves,
        "matrix": [[counts[row, column] for column in leaves] for row in leaves],
        "totals": [of[row] for row in leaves],
        "names": {leaf: taxonomy.names(leaf) for leaf in sorted(shown)},
    }


def _by_department(
    counts: Mapping[tuple[str, str], int], taxonomy: Taxonomy
) -> dict[str, dict[str, int]]:
    """Returns how many images each department has, and how many of them are guessed right."""
    found: dict[str, dict[str, int]] = {}
    for (truth, guess), times in sorted(counts.items()):
        name = taxonomy.names(taxonomy.department(truth))
        one = found.setdefault(name, {"images": 0, "right": 0})
        one["images"] += times
        one["right"] += times if truth == guess else 0
    return dict(sorted(found.items()))
