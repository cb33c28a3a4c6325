import numpy as np
import tensorflow as tf

from components.train.sampling import balanced_repeats, bring_together, repeat_by_leaf


def test_balance_keeps_the_epoch_and_raises_the_rare():
    counts = np.array([90, 10, 0])
    np.testing.assert_allclose(balanced_repeats(counts, 0.0), [1.0, 1.0, 1.0])
    # All alike: each of two classes gets half of the 100.
    np.testing.assert_allclose(balanced_repeats(counts, 1.0), [50 / 90, 5.0, 1.0])
    half = balanced_repeats(counts, 0.5)
    np.testing.assert_allclose((half * counts).sum(), 100, rtol=1e-5)
    np.testing.assert_allclose(half[1] / half[0], 3.0, rtol=1e-5)
    np.testing.assert_allclose(balanced_repeats(np.zeros(2, int), 1.0), [1.0, 1.0])


def stream(leaves):
    rows = np.stack([leaves, np.arange(len(leaves))], axis=1).astype(np.int32)
    items = [f"item-{number}" for number in range(len(leaves))]
    return tf.data.Dataset.from_tensor_slices((np.arange(len(leaves)), rows, items))


def test_examples_are_repeated_as_often_as_their_leaf_says():
    leaves = np.array([0] * 400 + [1] * 50 + [-1] * 20)
    shown = list(repeat_by_leaf(stream(leaves), np.array([0.5, 2.0], np.float32), seed=3))
    seen = np.array([int(rows[0]) for _, rows, _ in shown])
    assert (seen == 1).sum() == 100
    assert (seen == -1).sum() == 20
    # Half of 400, drawn: five standard deviations are 50.
    assert 150 < (seen == 0).sum() < 250
    again = list(repeat_by_leaf(stream(leaves), np.array([0.5, 2.0], np.float32), seed=3))
    assert [int(cutout) for cutout, _, _ in again] == [int(cutout) for cutout, _, _ in shown]


def test_views_of_a_product_come_together_and_none_is_lost():
    rng = np.random.default_rng(0)
    products = rng.permutation(np.repeat(np.arange(10), 6)).astype(np.int32)
    rows = np.stack([np.zeros(60, np.int32), products], axis=1)
    items = [str(number) for number in range(60)]
    found = list(bring_together(tf.data.Dataset.from_tensor_slices((items, rows, items)), 3))
    order = [int(row[1]) for _, row, _ in found]
    assert all(len(set(order[start : start + 3])) == 1 for start in range(0, 60, 3))
    assert sorted(item.numpy() for _, _, item in found) == sorted(name.encode() for name in items)
