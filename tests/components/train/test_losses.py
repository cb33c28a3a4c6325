import numpy as np
import pytest
import tensorflow as tf

from components.train.losses import (
    catalog_contrast,
    correct_and_known,
    masked_cross_entropy,
    supervised_contrastive,
)

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


def test_smoothing_along_the_tree_prefers_kin():
    # Three leaves, the first two in one family: by hand for the label 0.
    kin = [np.array([0, 0, 1], np.int32)]
    (loss,) = masked_cross_entropy(
        COSINES[:1], tf.constant([0]), scale=4.0, smoothing=0.2, kin=kin
    ).numpy()
    logits = 4.0 * COSINES.numpy()[0]
    log_probability = logits - np.log(np.exp(logits).sum())
    uniform, family = np.full(3, 1 / 3), np.array([0.5, 0.5, 0.0])
    target = 0.8 * np.array([1.0, 0.0, 0.0]) + 0.2 * (uniform + family) / 2
    assert target.sum() == pytest.approx(1.0)
    assert loss == pytest.approx(-(target * log_probability).sum(), rel=1e-5)


def test_a_margin_asks_more_of_the_right_class_alone():
    (loss,) = masked_cross_entropy(
        COSINES[2:], tf.constant([2]), scale=5.0, smoothing=0.0, margin=0.3
    ).numpy()
    logits = 5.0 * np.array([0.2, 0.1, 0.9 - 0.3])
    assert loss == pytest.approx(-(logits[2] - np.log(np.exp(logits).sum())), rel=1e-5)


def test_the_contrast_is_khoslas():
    angles = np.array([0.0, 0.3, 1.5, 2.0, 2.6])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    labels = [7, 7, 4, -1, 9]
    losses = supervised_contrastive(
        tf.constant(vectors), tf.constant(labels), temperature=0.5
    ).numpy()
    similar = np.exp(vectors @ vectors.T / 0.5)
    np.fill_diagonal(similar, 0.0)
    expected = -np.log(similar[0, 1] / similar[0].sum())
    assert losses[0] == pytest.approx(expected, rel=1e-4)
    np.testing.assert_array_equal(losses[2:], 0.0)


def test_the_own_catalog_view_is_told_from_those_of_other_products():
    rng = np.random.default_rng(3)
    photos, catalog = rng.normal(size=(2, 4, 8)).astype(np.float32)
    labels = [5, 5, -1, -1]
    losses = catalog_contrast(
        tf.constant(photos), tf.constant(catalog), tf.constant(labels), temperature=2.0
    ).numpy()
    exponentials = np.exp(0.5 * photos @ catalog.T)
    # Another view of the same product does not count; an unknown product is like no other.
    others = {0: (0, 2, 3), 1: (1, 2, 3), 2: (0, 1, 2, 3), 3: (0, 1, 2, 3)}
    for row, counted in others.items():
        share = exponentials[row, row] / exponentials[row, list(counted)].sum()
        assert losses[row] == pytest.approx(-np.log(share), rel=1e-5)


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
