import numpy as np
import pytest
import tensorflow as tf

from components.train.encoder import encode
from components.train.objective import Objective
from tests.components.train.test_train import trainer


@pytest.mark.slow
def test_photos_are_compared_with_what_an_index_would_hold(tmp_path, examples, taxonomy):
    one = trainer(examples, taxonomy, tmp_path, foreground_weight=0.0, catalog_weight=3.0)
    views, rows, _ = next(one._batches(24))
    untouched = one.network.get_weights()
    catalog = encode(one.network, views.catalog, input_size=24, flip_average=False)
    vectors = one.network(tf.cast(views.images, tf.float32), training=True)
    loss, _ = Objective(one.config, one.labels, one.heads)(vectors, rows, catalog)
    one.network.set_weights(untouched)

    result = one._make_step()(views, rows, 0.0, False)
    assert result.sums[0] == pytest.approx(float(loss), rel=1e-4)
    # It counts: a batch of 16 has something to be confused with.
    assert result.sums[0] > float(Objective(one.config, one.labels, one.heads)(vectors, rows)[0])


@pytest.mark.slow
def test_a_catalog_view_is_no_more_drawn_to_its_photos_than_it_would_be_without_them(
    tmp_path, examples, taxonomy
):
    """Only what the training images come to is learnt from: the other side is held still."""
    one = trainer(
        examples, taxonomy, tmp_path, foreground_weight=0.0, catalog_weight=1.0, weight_decay=0.0
    )
    views, rows, _ = next(one._batches(24))
    step = one._make_step()
    state = [*one.network.variables, *one._variables, *one.optimizer.variables]
    untouched = [variable.numpy() for variable in state]

    def change(catalog: tf.Tensor) -> np.ndarray:
        for variable, value in zip(state, untouched, strict=True):
            variable.assign(value)
        step(views._replace(catalog=catalog), rows, 0.1, False)
        return one.network.get_layer("embedding_dense").get_weights()[0]

    # Views that are all alike say nothing of which is whose, so nothing comes of them; were the
    # catalog's side learnt too, the step would still be another.
    alike = tf.repeat(views.catalog[:1], 16, axis=0)
    other = tf.repeat(views.catalog[1:2], 16, axis=0)
    assert np.abs(change(views.catalog) - change(alike)).max() > 1e-4
    np.testing.assert_allclose(change(alike), change(other), atol=1e-5)
