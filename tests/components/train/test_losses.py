import numpy as np
import pytest
import tensorflow as tf

from components.train.losses import correct_and_known, masked_cross_entropy

COSINES = tf.constant([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0], [0.2, 0.1, 0.9]])


def test_the_loss_is_the_smoothed_cross_entropy():
    labels = tf.constant([0, 1, 2])
    losses = masked_cross_entropy(COSINES, labels, scale=4.0, smoothing=0.1).numpy()
    for row, label, loss in zip(COSINES.numpy(), labels.numpy(), losses, strict=True):
        logits = 4.0 * row
        log_probability = logits - np.log(np.exp(logits).sum())
        target = np.full(3, 0.1 / 3)
        target[label] += 0.9
        assert loss == pytest.approx(-(target * log_probability).sum(), rel=1e-5)


def test_an_unknown_label_trains_nothing():
    cosines = tf.Variable(COSINES)
    with tf.GradientTape() as tape:
        losses = masked_cross_entropy(cosines, tf.constant([0, -1, -1]), scale=8.0, smoothing=0.1)
    gradient = tape.gradient(losses, cosines).numpy()
    assert losses.numpy()[0] > 0
    np.testing.assert_array_equal(losses.numpy()[1:], 0.0)
    assert np.abs(gradient[0]).max() > 0
    np.testing.assert_array_equal(gradient[1:], 0.0)


def test_only_known_labels_are_counted():
    right, known = correct_and_known(COSINES, tf.constant([0, 2, -1]))
    assert (float(right), float(known)) == (1.0, 2.0)
