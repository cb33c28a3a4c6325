"""The exported encoder: one SavedModel from image bytes, or from stored pixels, to unit vectors."""

from __future__ import annotations

import io
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_transform as tft
from PIL import Image

from components.contracts.errors import InputError, LookalikeError
from components.train.data import Statistics
from components.train.encoder import encode

TOLERANCE = 1e-4
# transform rounds what it writes into statistics.json to four places.
_STATISTICS_TOLERANCE = 1e-4


def check_graph(transform_graph: Path, statistics: Statistics) -> None:
    """Refuses a preprocessing graph that did not make the examples.

    Args:
        transform_graph: The output of TensorFlow Transform.
        statistics: Those of the examples; the graph carries the same ones.

    Raises:
        InputError: It is no such graph, or gives images of another size, or carries the channel
            statistics of other images.
    """
    layer = _layer(transform_graph, statistics.stored_size)
    # TensorFlow would take the memory of the GPUs, which the workers are about to need.
    with tf.device("/cpu:0"):
        outputs = layer({"image_bytes": tf.constant([_png(np.zeros((8, 8, 3), np.uint8))])})
    for name in ("channel_mean", "channel_std"):
        expected = np.array(getattr(statistics, name))
        received = outputs[name].numpy()[0] if name in outputs else None
        if received is None or not np.allclose(
            received, expected, rtol=0, atol=_STATISTICS_TOLERANCE
        ):
            raise InputError(
                f"{transform_graph}: expected a graph with the {name} of the examples, "
                f"{expected.tolist()}, received "
                f"{None if received is None else received.round(4).tolist()}: it comes from "
                "another run; use the graph and the examples of one transform run"
            )


def export_encoder(
    *,
    network: keras.Model,
    transform_graph: Path,
    saved_model: Path,
    stored_size: int,
    input_size: int,
    flip_average: bool,
) -> None:
    """Writes a SavedModel with two signatures.

    `image_bytes` takes encoded images, string `[n]`, through the TensorFlow Transform graph;
    `pixels` takes what that graph gives, uint8 `[n, stored, stored, 3]`. Both return float32
    `[n, embedding_dim]` of unit norm under the name `embedding`. The default signature is
    `image_bytes`.

    Args:
        network: A float32 network.
        transform_graph: The output of TensorFlow Transform.
        saved_model: Directory to write.
        stored_size: Height and width of the stored images.
        input_size: Height and width that the network sees.
        flip_average: Whether to average with the mirror image.

    Raises:
        InputError: The transform graph gives images of another size.
    """
    layer = _layer(transform_graph, stored_size)

    @tf.function(input_signature=[tf.TensorSpec([None, stored_size, stored_size, 3], tf.uint8)])  # type: ignore[untyped-decorator]
    def pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        vectors = encode(network, images, input_size=input_size, flip_average=flip_average)
        return {"embedding": vectors}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])  # type: ignore[untyped-decorator]
    def image_bytes(data: tf.Tensor) -> dict[str, tf.Tensor]:
        images = layer({"image_bytes": data})["image"]
        images = tf.ensure_shape(tf.cast(images, tf.uint8), [None, stored_size, stored_size, 3])
        vectors = encode(network, images, input_size=input_size, flip_average=flip_average)
        return {"embedding": vectors}

    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.track(layer)
    archive.add_endpoint("image_bytes", image_bytes)
    archive.add_endpoint("pixels", pixels)
    archive.write_out(str(saved_model), verbose=False)


def check_export(
    *,
    saved_model: Path,
    network: keras.Model,
    transform_graph: Path,
    images: npt.NDArray[np.uint8],
    input_size: int,
    flip_average: bool,
) -> float:
    """Compares both signatures with the training path.

    Args:
        saved_model: What `export_encoder` wrote; it is loaded anew.
        network: The network that was exported.
        transform_graph: The output of TensorFlow Transform.
        images: Stored images, uint8 `[n, stored, stored, 3]`.
        input_size: Height and width that the network sees.
        flip_average: Whether embeddings average with the mirror image.

    Returns:
        The largest difference of any component.

    Raises:
        LookalikeError: The difference exceeds 1e-4.
    """
    signatures = tf.saved_model.load(str(saved_model)).signatures
    expected = encode(
        network, tf.constant(images), input_size=input_size, flip_average=flip_average
    ).numpy()
    exported = signatures["pixels"](tf.constant(images))["embedding"].numpy()
    worst = _difference(expected, exported)

    encoded = [_png(image) for image in images]
    layer = tft.TFTransformOutput(str(transform_graph)).transform_features_layer()
    stored = tf.cast(layer({"image_bytes": tf.constant(encoded)})["image"], tf.uint8)
    expected = encode(network, stored, input_size=input_size, flip_average=flip_average).numpy()
    exported = signatures["image_bytes"](tf.constant(encoded))["embedding"].numpy()
    worst = max(worst, _difference(expected, exported))
    if not worst <= TOLERANCE:
        raise LookalikeError(
            f"{saved_model}: the exported encoder and the training path differ by {worst:.2g}, "
            f"more than {TOLERANCE:.0e}; the export is not used"
        )
    return worst


def _layer(transform_graph: Path, stored_size: int) -> keras.Layer:
    """Returns the graph as a layer, having looked at the size of its images."""
    transform = tft.TFTransformOutput(str(transform_graph))
    try:
        spec = transform.transformed_feature_spec()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{transform_graph}: expected a graph of TensorFlow Transform ({error}); use the one "
            "that transform wrote with the examples"
        ) from None
    shape = list(spec["image"].shape) if "image" in spec else None
    if shape != [stored_size, stored_size, 3]:
        raise InputError(
            f"{transform_graph}: expected a graph that gives `image` "
            f"[{stored_size}, {stored_size}, 3] as the examples have it, received {shape}; use the "
            "graph and the examples of one transform run"
        )
    return transform.transform_features_layer()


def _difference(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    return float(np.max(np.abs(first - second)))


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
