"""The bundle's encoder: admitted image bytes to unit vectors, in TensorFlow."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts.encoder import SAVED_MODEL_DIRECTORY
from components.contracts.errors import InputError
from components.contracts.images import BadImageError
from components.search.searcher import Vectors, unit_rows

Encode = Callable[[Sequence[bytes]], Vectors]
SAVED_MODEL = f"encoder/{SAVED_MODEL_DIRECTORY}"
SIGNATURE = "image_bytes"


def import_tensorflow() -> Any:
    """Imports TensorFlow without its start-up chatter; takes seconds the first time."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    first = "tensorflow" not in sys.modules
    tensorflow = importlib.import_module("tensorflow")
    if first:
        # A million objects that live as long as the process: the collector need not look at them
        # again and again, which would stop all requests for a moment each time.
        gc.collect()
        gc.freeze()
    return tensorflow


class Encoder:
    """A loaded SavedModel."""

    def __init__(self, bundle: Path, *, dim: int) -> None:
        """Loads a bundle's encoder; the caller has checked the bundle's sums.

        Args:
            bundle: The bundle directory.
            dim: Dimensions that its vectors must have.

        Raises:
            InputError: It cannot be loaded or has no signature `image_bytes`.
        """
        self._tf = import_tensorflow()
        path = bundle / SAVED_MODEL
        try:
            self._model = self._tf.saved_model.load(str(path))
        except (OSError, ValueError, self._tf.errors.OpError) as error:
            raise InputError(f"{path}: TensorFlow cannot load the encoder ({error})") from None
        signatures = self._model.signatures
        if SIGNATURE not in signatures:
            raise InputError(
                f"{path}: expected the signature {SIGNATURE!r}, found "
                f"{', '.join(sorted(signatures)) or 'none'}"
            )
        self._function = signatures[SIGNATURE]
        (self._argument,) = self._function.structured_input_signature[1]
        self._dim = dim

    def __call__(self, images: Sequence[bytes]) -> Vectors:
        """Embeds images that `components.contracts.images.admit` let through.

        Returns:
            float32 `[images, dim]`, unit norm.

        Raises:
            BadImageError: `undecodable_image`: the preprocessing graph cannot decode one.
            InputError: The vectors are not what a bundle's encoder gives.
        """
        batch = self._tf.constant(list(images), self._tf.string)
        try:
            outputs = self._function(**{self._argument: batch})
        except self._tf.errors.InvalidArgumentError:
            raise BadImageError(
                "undecodable_image", "the preprocessing graph cannot decode the image"
            ) from None
        (output,) = outputs.values()
        vectors = np.asarray(output.numpy())
        expected = (len(images), self._dim)
        if vectors.shape != expected or vectors.dtype != np.float32:
            raise InputError(
                f"encoder: expected float32 {list(expected)}, received {vectors.dtype} "
                f"{list(vectors.shape)}"
            )
        if not bool(unit_rows(vectors).all()):
            raise InputError("encoder: expected finite vectors of norm 1, received others")
        return vectors
