"""What a training step minimises: every head's loss, and the contrasts between examples."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from components.train.config import TrainConfig
from components.train.heads import CosineHead
from components.train.labels import LabelSpace
from components.train.losses import (
    catalog_contrast,
    correct_and_known,
    masked_cross_entropy,
    supervised_contrastive,
)
from components.train.plan import level_weights


class Objective:
    """The loss of a batch, as a config weighs its parts."""

    def __init__(
        self, config: TrainConfig, labels: LabelSpace, heads: Sequence[CosineHead]
    ) -> None:
        """Lays out which head counts for what, and which classes are kin."""
        self._config = config
        self._heads = heads
        self._weights = level_weights(config, len(labels.levels))
        # Kinship is a matter of the taxonomy: the products' head, the last, has none.
        self._kin = [
            labels.groups(level) if config.tree_smoothing else () for level in range(len(heads) - 1)
        ]
        self._kin.append(())

    def __call__(
        self, vectors: tf.Tensor, rows: tf.Tensor, catalog: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the loss, and the counts of right first guesses.

        Args:
            vectors: float32 `[batch, embedding_dim]` of unit norm.
            rows: int32 `[batch, heads]`, the products' last, -1 for unknown.
            catalog: The vectors of the catalog views that the batch was made from, of the same
                shape as `vectors`; None, and only then, where `catalog_weight` is 0.

        Raises:
            ValueError: There are catalog views and no weight for them, or the other way round.

        Returns:
            The loss summed over the batch, a float32 scalar; and float32 `[2 heads]`: for each
            head how many first guesses were right, and of how many.
        """
        config = self._config
        if (catalog is None) != (config.catalog_weight == 0):
            raise ValueError(
                f"expected catalog views where catalog_weight is not 0, received "
                f"{'none' if catalog is None else 'some'} with a weight of {config.catalog_weight}"
            )
        loss = tf.constant(0.0)
        counts: list[tf.Tensor] = []
        for column, (head, weight) in enumerate(zip(self._heads, self._weights, strict=True)):
            cosines = head(vectors)
            losses = masked_cross_entropy(
                cosines,
                rows[:, column],
                scale=config.logit_scale,
                smoothing=config.label_smoothing,
                margin=config.margin,
                kin=self._kin[column],
            )
            loss += weight * tf.reduce_sum(losses)
            counts += correct_and_known(cosines, rows[:, column])
        if config.contrastive_weight:
            losses = supervised_contrastive(
                vectors, rows[:, -1], temperature=config.contrastive_temperature
            )
            loss += config.contrastive_weight * tf.reduce_sum(losses)
        if catalog is not None:
            losses = catalog_contrast(
                vectors, catalog, rows[:, -1], temperature=config.catalog_temperature
            )
            loss += config.catalog_weight * tf.reduce_sum(losses)
        return loss, tf.stack(counts)
