import numpy as np
import pytest
import tensorflow as tf

from components.train.config import TrainConfig
from components.train.heads import build_heads
from components.train.labels import LabelSpace
from components.train.losses import (
    catalog_contrast,
    masked_cross_entropy,
    supervised_contrastive,
)
from components.train.objective import Objective

LABELS = LabelSpace(levels=((1, 2), (3, 4, 5)), products=("a", "b"), parents=((0, 0, 1),))
ROWS = tf.constant([[0, 1, 0], [0, 0, 0], [1, 2, 1], [1, -1, 1]])
PLAIN = {"label_smoothing": 0.1, "logit_scale": 6.0, "workers": 1, "views_per_product": 2}


def vectors():
    drawn = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)
    return tf.constant(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def loss_of(*, catalog=None, **changes):
    heads = build_heads(LABELS, embedding_dim=8, seed=1)
    weight = {} if catalog is not None else {"catalog_weight": 0.0}
    config = TrainConfig.from_mapping({**PLAIN, **weight, **changes})
    loss, counts = Objective(config, LABELS, heads)(vectors(), ROWS, catalog)
    return float(loss), counts.numpy(), heads


def test_the_parts_are_weighed_as_told():
    total, counts, heads = loss_of(
        product_weight=2.0, leaf_weight=0.5, ancestor_weight=0.25, contrastive_weight=3.0
    )
    expected = 0.0
    for column, weight in enumerate((0.25, 0.5, 2.0)):
        losses = masked_cross_entropy(
            heads[column](vectors()), ROWS[:, column], scale=6.0, smoothing=0.1
        )
        expected += weight * float(tf.reduce_sum(losses))
    contrast = supervised_contrastive(vectors(), ROWS[:, 2], temperature=0.1)
    expected += 3.0 * float(tf.reduce_sum(contrast))
    assert total == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(counts[1::2], [4, 3, 4])


def test_the_catalog_views_are_a_part_of_it():
    catalog = tf.reverse(vectors(), [1])
    with_it = loss_of(catalog=catalog, catalog_weight=2.0)[0]
    losses = catalog_contrast(vectors(), catalog, ROWS[:, 2], temperature=0.125)
    assert with_it - loss_of()[0] == pytest.approx(2.0 * float(tf.reduce_sum(losses)), rel=1e-4)


def test_views_without_a_weight_and_a_weight_without_views_are_refused():
    for options in ({"catalog": vectors(), "catalog_weight": 0.0}, {"catalog_weight": 1.0}):
        with pytest.raises(ValueError, match="expected catalog views where catalog_weight"):
            loss_of(**options)


def test_smoothing_along_the_tree_touches_leaves_and_not_products():
    alone = {"product_weight": 1.0, "leaf_weight": 0.0, "ancestor_weight": 0.0}
    assert loss_of(**alone)[0] == pytest.approx(loss_of(**alone, tree_smoothing=True)[0])
    leaves = {"product_weight": 0.0, "leaf_weight": 1.0, "ancestor_weight": 0.0}
    assert loss_of(**leaves)[0] != pytest.approx(loss_of(**leaves, tree_smoothing=True)[0])
