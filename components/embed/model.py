"""The encoder as Beam's RunInference takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf
from apache_beam.ml.inference.base import ModelHandler

from components.contracts.errors import InputError
from components.contracts.progress import Tally

SIGNATURE = "image_bytes"
# What stands for a vector where the graph cannot decode the image.
NO_VECTOR = b""
# The parts of a network that run on one core leave the others idle; a second call fills them.
CALLS_AT_ONCE = 2


# An element is a few batches already: Beam's own batching costs as much as reading does.
_Batch = Sequence[bytes]


class EncoderHandler(ModelHandler[_Batch, _Batch, Any]):  # type: ignore[misc]  # Untyped.
    """Runs batches of admitted images through a SavedModel; vectors come as float32 bytes.

    Bytes pass between Beam's stages several times faster than arrays do.
    """

    def __init__(self, saved_model: str, *, batch_size: int, tally: Tally | None = None) -> None:
        """Keeps where the SavedModel lies; it is loaded where it runs.

        Args:
            saved_model: Its directory.
            batch_size: Images a call.
            tally: Where to tell what is done; None for nowhere.
        """
        super().__init__()
        self._saved_model = saved_model
        self._batch_size = batch_size
        self._tally = tally

    def load_model(self) -> Any:
        """Returns the signature `image_bytes` of the SavedModel.

        Raises:
            InputError: It cannot be loaded, or has no such signature.
        """
        try:
            model = tf.saved_model.load(self._saved_model)
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise InputError(
                f"{self._saved_model}: TensorFlow cannot load the encoder ({error})"
            ) from None
        if SIGNATURE not in model.signatures:
            raise InputError(
                f"{self._saved_model}: expected the signature {SIGNATURE!r}, found "
                f"{', '.join(sorted(model.signatures)) or 'none'}"
            )
        function = model.signatures[SIGNATURE]
        # A signature's function does not keep the model and its variables alive.
        function.lookalike_model = model
        return function

    def run_inference(
        self,
        batch: Sequence[_Batch],
        model: Any,
        inference_args: Mapping[str, Any] | None = None,
    ) -> Iterable[list[bytes]]:
        """Returns each image's vector as float32 bytes; `NO_VECTOR` where it cannot be decoded."""
        del inference_args
        return [self._encode(images, model) for images in batch]

    def _encode(self, images: _Batch, model: Any) -> list[bytes]:
        starts = range(0, len(images), self._batch_size)
        parts = [images[start : start + self._batch_size] for start in starts]
        with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
            vectors: list[bytes] = []
            for found in pool.map(lambda part: self._call(part, model), parts):
                vectors += found
                if self._tally:
                    self._tally.add(len(found))
            return vectors

    @staticmethod
    def _call(images: _Batch, model: Any) -> list[bytes]:
        try:
            return [vector.tobytes() for vector in _encode(model, images)]
        except tf.errors.InvalidArgumentError:
            # One image that the graph cannot decode fails its whole batch: find it alone.
            return [_encode_one(model, image) for image in images]

    def batch_elements_kwargs(self) -> dict[str, int]:
        """Returns one: an element is a batch already."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def get_num_bytes(self, batch: Sequence[_Batch]) -> int:
        """Returns the images' size; Beam would pickle them to find out."""
        return sum(len(image) for images in batch for image in images)


def _encode(model: Any, images: Sequence[bytes]) -> np.ndarray[Any, np.dtype[np.float32]]:
    (argument,) = model.structured_input_signature[1]
    (vectors,) = model(**{argument: tf.constant(list(images), tf.string)}).values()
    return np.asarray(vectors.numpy(), np.float32)


def _encode_one(model: Any, image: bytes) -> bytes:
    try:
        return bytes(_encode(model, [image])[0].tobytes())
    except tf.errors.InvalidArgumentError:
        return NO_VECTOR
