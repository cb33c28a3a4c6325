import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from components.train.objective import Objective
from tests.components.train.test_train import trainer


@pytest.mark.slow
def test_photos_are_compared_with_what_an_index_would_hold(tmp_path, examples, taxonomy):
    one = trainer(examples, taxonomy, tmp_path, foreground_weight=0.0, catalog_weight=3.0)
    views, rows, _ = next(one._batches(24))
    untouched = one.network.get_weights()
    catalog = one.network(tf.cast(views.catalog, tf.float32), training=False)
    vectors = one.network(tf.cast(views.images, tf.float32), training=True)
    loss, _ = Objective(one.config, one.labels, one.heads)(vectors, rows, catalog)
    one.network.set_weights(untouched)

    result = one._make_step()(views, rows, 0.0, False)
    assert result.sums[0] == pytest.approx(float(loss), rel=1e-4)
    # It counts: a batch of 16 has something to be confused with.
    without = dataclasses.replace(one.config, catalog_weight=0.0)
    assert result.sums[0] > float(Objective(without, one.labels, one.heads)(vectors, rows)[0])


@pytest.mark.slow
def test_the_catalog_views_are_held_still(tmp_path, examples, taxonomy):
    rate = 0.01
    one = trainer(
        examples, taxonomy, tmp_path,
        foreground_weight=0.0, catalog_weight=2.0, weight_decay=0.0, momentum=0.0,
    )  # fmt: skip
    views, rows, _ = next(one._batches(24))
    kernel = one.network.get_layer("embedding_dense").kernel
    objective = Objective(one.config, one.labels, one.heads)
    untouched = one.network.get_weights()

    def slope(*, held_still: bool) -> np.ndarray:
        with tf.GradientTape() as tape:
            catalog = one.network(tf.cast(views.catalog, tf.float32), training=False)
            if held_still:
                catalog = tf.stop_gradient(catalog)
            vectors = one.network(tf.cast(views.images, tf.float32), training=True)
            loss = objective(vectors, rows, catalog)[0] / one.config.batch_size
        one.network.set_weights(untouched)
        return tape.gradient(loss, kernel.value).numpy()

    before = kernel.numpy()
    expected, other = slope(held_still=True), slope(held_still=False)
    one._make_step()(views, rows, rate, False)
    found = (before - kernel.numpy()) / rate
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(other - expected).max() > 1e-2
