"""The encoder as Beam's RunInference takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from apache_beam.ml.inference.base import ModelHandler

from components.contracts.errors import InputError

SIGNATURE = "image_bytes"
# What stands for a vector where the graph cannot decode the image.
NO_VECTOR = b""


class EncoderHandler(ModelHandler[bytes, bytes, Any]):  # type: ignore[misc]  # Beam has no types.
    """Runs admitted image bytes through a SavedModel; vectors come as float32 bytes.

    Bytes pass between Beam's stages several times faster than arrays do.
    """

    # Called with the number of images done where the runner shares the process of the step; other
    # processes have no one to tell.
    report: ClassVar[Callable[[int], None] | None] = None

    def __init__(self, saved_model: str, *, batch_size: int) -> None:
        """Keeps where the SavedModel lies; it is loaded where it runs.

        Args:
            saved_model: Its directory.
            batch_size: Images a call.
        """
        super().__init__()
        self._saved_model = saved_model
        self._batch_size = batch_size

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
        self, batch: Sequence[bytes], model: Any, inference_args: Mapping[str, Any] | None = None
    ) -> Iterable[bytes]:
        """Returns each image's vector as float32 bytes; `NO_VECTOR` where it cannot be decoded."""
        del inference_args
        try:
            vectors = [vector.tobytes() for vector in _encode(model, batch)]
        except tf.errors.InvalidArgumentError:
            # One image that the graph cannot decode fails its whole batch: find it alone.
            vectors = [_encode_one(model, image) for image in batch]
        if EncoderHandler.report:
            EncoderHandler.report(len(batch))
        return vectors

    def batch_elements_kwargs(self) -> dict[str, int]:
        """Returns one fixed batch size: the graph is fastest at it, and nothing is measured."""
        return {"min_batch_size": self._batch_size, "max_batch_size": self._batch_size}


def _encode(model: Any, images: Sequence[bytes]) -> np.ndarray[Any, np.dtype[np.float32]]:
    (argument,) = model.structured_input_signature[1]
    (vectors,) = model(**{argument: tf.constant(list(images), tf.string)}).values()
    return np.asarray(vectors.numpy(), np.float32)


def _encode_one(model: Any, image: bytes) -> bytes:
    try:
        return bytes(_encode(model, [image])[0].tobytes())
    except tf.errors.InvalidArgumentError:
        return NO_VECTOR
