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
from components.train.checkpoints import DamagedError, read_arrays
from components.train.heads import CosineHead
from components.train.labels import LabelSpace

_LABELS = "labels/"
_HEAD = "head_"
_LEVEL_HEAD = "head_level_"
_FIRST, _LAST = "conv1_conv/kernel", "embedding_dense/kernel"
# The first part that a network has tells its depth; every network has the last.
_DEPTH_OF_PART = (
    ("conv2_block1_3_", 50),
    ("conv2_block3_", 34),
    ("conv2_block2_", 18),
    ("", 10),
)
_SHOWN = 5


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
        return read_arrays(path)
    except (OSError, DamagedError) as error:
        raise InputError(
            f"{path}: expected the weights of an encoder, received a file that cannot be read "
            f"({error}); take the file from its bundle again, or train with mode=scratch"
        ) from None


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
    """Starts a network from the weights of another one of the same shape.

    A head's rows are matched by what they stand for (class id, product id), so that a taxonomy
    that grew keeps the prototypes of its old classes. Products come and go; new ones start afresh,
    as new classes do.

    Returns:
        How many of the network's variables were filled: all.

    Raises:
        InputError: The weights are of another network, or were taught classes that the taxonomy
            has no more; or the file cannot be read.
    """
    arrays = read_weights(path)
    _refuse_another_network(path, network, arrays)
    _refuse_lost_classes(path, labels, arrays)
    filled = load_network(network, arrays)
    for head, rows in zip(heads, _row_names(labels), strict=True):
        # A level that the taxonomy did not have has no prototypes yet.
        old_rows, old = arrays.get(_LABELS + head.name), arrays.get(head.prototypes.path)
        if old is None or old_rows is None:
            continue
        place = {str(name): index for index, name in enumerate(old_rows)}
        prototypes = np.array(head.prototypes.numpy())
        for index, name in enumerate(rows):
            if name in place:
                prototypes[index] = old[place[name]]
        head.prototypes.assign(prototypes)
    return filled


def _refuse_another_network(
    path: Path, network: keras.Model, arrays: Mapping[str, npt.NDArray[np.generic]]
) -> None:
    """Refuses weights that would fill a part of the network, or fill it with a part of them."""
    wanted = {variable.path: tuple(variable.shape) for variable in network.weights}
    found = {
        name: array.shape for name, array in arrays.items() if not name.startswith((_LABELS, _HEAD))
    }
    if found == wanted:
        return
    own, theirs = _parameters(wanted), _parameters(found)
    differing = [name for name in own if theirs.get(name, own[name]) != own[name]]
    fitting = sum(found.get(name) == shape for name, shape in wanted.items())
    expected = (
        " and ".join(f"{name} {own[name]}" for name in differing)
        or f"the {len(wanted)} variables of this one"
    )
    received = (
        " and ".join(f"{name} {theirs[name]}" for name in differing)
        or f"{len(found)}, of which {fitting} fit"
    )
    settings = "".join(f"train.{name}={theirs[name]}, " for name in differing)
    change = f"set {settings.removesuffix(', ')} as it was, or train" if differing else "train"
    raise InputError(
        f"{path}: a warm start goes on with a network of the same shape: expected weights of one "
        f"with {expected}, received {received}; {change} with mode=scratch"
    )


def _parameters(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, object]:
    """Returns the parameters that show in the variables of a network, as far as they do.

    Args:
        shapes: The shape of each variable by name, see `components.train.resnet`.
    """
    found: dict[str, object] = {}
    if _FIRST in shapes and _LAST in shapes:
        found["depth"] = next(
            depth for part, depth in _DEPTH_OF_PART if any(name.startswith(part) for name in shapes)
        )
        found["width"] = shapes[_FIRST][-1]
        found["embedding_dim"] = shapes[_LAST][-1]
        found["squeeze_excite"] = str(any("_se_" in name for name in shapes)).lower()
    return found


def _refuse_lost_classes(
    path: Path, labels: LabelSpace, arrays: Mapping[str, npt.NDArray[np.generic]]
) -> None:
    """Refuses weights that were taught to tell classes apart that are no classes any more."""
    taught = {
        int(name.removeprefix(_LABELS + _LEVEL_HEAD)): {int(class_id) for class_id in rows}
        for name, rows in arrays.items()
        if name.startswith(_LABELS + _LEVEL_HEAD)
    }
    if not taught:
        raise InputError(
            f"{path}: a warm start needs to know the classes that the weights were taught: "
            f"expected {_LABELS}{_LEVEL_HEAD}1 and so on, received none; train with mode=scratch"
        )
    here = dict(enumerate(map(set, labels.levels), start=1))
    level_of = {class_id: level for level, classes in here.items() for class_id in classes}
    lost = [
        f"{class_id} of level {level}"
        + (f" (now of level {level_of[class_id]})" if class_id in level_of else "")
        for level, classes in sorted(taught.items())
        for class_id in sorted(classes - here.get(level, set()))
    ]
    if lost:
        more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        raise InputError(
            f"{path}: a warm start is for a taxonomy that only grew: expected each of the "
            f"{sum(map(len, taught.values()))} classes that the weights were taught, received a "
            f"taxonomy without {len(lost)} of them (class ids {', '.join(lost[:_SHOWN])}{more}); "
            "train with mode=scratch, or put them back into the taxonomy"
        )


def _row_names(labels: LabelSpace) -> list[list[str]]:
    """Returns what each row of each head stands for, in the heads' order."""
    return [*([str(class_id) for class_id in level] for level in labels.levels), [*labels.products]]
