"""Classification heads over the embedding: cosines to one learned prototype a class."""

from __future__ import annotations

import keras
import tensorflow as tf

from components.train.labels import LabelSpace


class CosineHead(keras.layers.Layer):  # type: ignore[misc]
    """The cosine between each embedding and each class's prototype (Wang et al., 2018)."""

    def __init__(self, classes: int, *, seed: int, name: str) -> None:
        """Makes a head.

        Args:
            classes: Number of classes.
            seed: Seed of the initial prototypes.
            name: Name of the layer, stable across checkpoints.
        """
        super().__init__(name=name, dtype="float32")
        self._classes = classes
        self._seed = seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the prototypes, float32 `[classes, embedding_dim]`."""
        self.prototypes = self.add_weight(
            name="prototypes",
            shape=(self._classes, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=0.05, seed=self._seed),
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns cosines, float32 `[batch, classes]`, for embeddings of unit norm."""
        prototypes = tf.math.l2_normalize(self.prototypes, axis=-1)
        return tf.matmul(inputs, prototypes, transpose_b=True)


def build_heads(labels: LabelSpace, *, embedding_dim: int, seed: int) -> list[CosineHead]:
    """Builds one head a level of the taxonomy, departments first, and the products' last."""
    sizes = {f"level_{depth}": len(level) for depth, level in enumerate(labels.levels, start=1)}
    sizes["product"] = len(labels.products)
    heads = []
    for number, (name, classes) in enumerate(sizes.items()):
        head = CosineHead(classes, seed=seed * 1000 + 500 + number, name=f"head_{name}")
        head.build((None, embedding_dim))
        heads.append(head)
    return heads
