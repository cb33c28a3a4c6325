"""Weights as plain arrays: names to values, no pickle, readable without TensorFlow."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from components.contracts.errors import InputError
from components.contracts.files import write_atomically
from components.train.heads import CosineHead
from components.train.labels import LabelSpace

_LABELS = "labels/"


def save_weights(
    path: Path, network: keras.Model, heads: Sequence[CosineHead], labels: LabelSpace
) -> None:
    """Writes every weight of the network and of the heads, and what the heads' rows stand for."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for owner in (network, *heads):
        for variable in owner.weights:
            arrays[variable.path] = np.asarray(variable.numpy())
    for head, rows in zip(heads, _row_names(labels), strict=True):
        arrays[_LABELS + head.name] = np.array(rows, dtype=np.str_)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())


def read_weights(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Reads `weights.npz`.

    Raises:
        InputError: The file is missing or damaged, or holds objects rather than plain arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected the weights of an encoder ({error})") from None


def load_network(network: keras.Model, arrays: Mapping[str, npt.NDArray[np.generic]]) -> int:
    """Assigns the arrays whose name and shape match; returns how many variables they filled."""
    filled = 0
    for variable in network.weights:
        array = arrays.get(variable.path)
        if array is not None and array.shape == tuple(variable.shape):
            variable.assign(array)
            filled += 1
    return filled


def load_weights(
    path: Path, network: keras.Model, heads: Sequence[CosineHead], labels: LabelSpace
) -> int:
    """Starts a network from another's weights, where names and shapes match.

    A head's rows are matched by what they stand for (class id, product id), so that a taxonomy
    that grew keeps the prototypes of its old classes.

    Returns:
        How many of the network's variables were filled.

    Raises:
        InputError: Nothing matches, or the file cannot be read.
    """
    arrays = read_weights(path)
    filled = load_network(network, arrays)
    if filled == 0:
        raise InputError(
            f"{path}: expected weights of a like network, none of the {len(arrays)} arrays "
            "matches; train with mode=scratch or with the depth and width of the incumbent"
        )
    for head, rows in zip(heads, _row_names(labels), strict=True):
        old_rows = arrays.get(_LABELS + head.name)
        old = arrays.get(head.prototypes.path)
        if old is None or old_rows is None or old.shape[1] != head.prototypes.shape[1]:
            continue
        place = {str(name): index for index, name in enumerate(old_rows)}
        prototypes = np.array(head.prototypes.numpy())
        for index, name in enumerate(rows):
            if name in place:
                prototypes[index] = old[place[name]]
        head.prototypes.assign(prototypes)
    return filled


def _row_names(labels: LabelSpace) -> list[list[str]]:
    """Returns what each row of each head stands for, in the heads' order."""
    return [*([str(class_id) for class_id in level] for level in labels.levels), [*labels.products]]
