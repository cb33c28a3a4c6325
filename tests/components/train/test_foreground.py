import numpy as np
import pytest
import tensorflow as tf

from components.train.foreground import build_foreground_head, foreground_loss, with_features
from components.train.resnet import build_resnet
from tests.components.train.test_train import trainer


def network(depth):
    return build_resnet(
        depth=depth, width=4, embedding_dim=8, channel_mean=[128.0] * 3, channel_std=[64.0] * 3
    )


@pytest.mark.parametrize(("depth", "channels"), [(10, 8), (18, 8), (34, 8), (50, 32)])
def test_features_are_an_eighth_of_the_images_side(depth, channels):
    one = network(depth)
    features = with_features(one)
    pixels = tf.random.stateless_uniform([2, 64, 64, 3], [1, 2], 0, 255)
    vectors, maps = features(pixels, training=False)
    assert maps.shape == (2, 8, 8, channels)
    np.testing.assert_array_equal(vectors, one(pixels, training=False))
    assert build_foreground_head(features, seed=0)(maps).shape == (2, 8, 8)


def test_the_loss_is_the_cross_entropy_in_the_mean_over_the_cells():
    # A cell that is three quarters product, of which the head is sure to p = 0.8.
    share = np.zeros((1, 4, 4, 1), np.float32)
    share[0, :2, :2] = [[[1.0], [1.0]], [[1.0], [0.0]]]
    logits = np.full((1, 2, 2), -30.0, np.float32)
    logits[0, 0, 0] = np.log(0.8 / 0.2)
    expected = (-0.75 * np.log(0.8) - 0.25 * np.log(0.2)) / 4
    loss = foreground_loss(tf.constant(logits), tf.constant(share))
    np.testing.assert_allclose(loss, [expected], rtol=1e-4)


@pytest.mark.slow
def test_a_training_learns_it_and_a_restart_goes_on_with_it(tmp_path, examples, taxonomy):
    changes = {"foreground_weight": 1.0, "epochs": 4}
    one = trainer(examples, taxonomy, tmp_path, **changes)
    before = one._foreground.get_weights()
    one.run()
    learnt = one._foreground.get_weights()
    assert np.abs(learnt[0] - before[0]).max() > 1e-3
    again = trainer(examples, taxonomy, tmp_path, **changes)
    assert again.step == one.step
    for first, second in zip(learnt, again._foreground.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
