import numpy as np
import tensorflow as tf

from components.train.sampling import balanced_repeats, bring_together, repeat_rare


def test_balance_keeps_the_epoch_and_raises_the_rare():
    counts = np.array([90, 10, 0])
    np.testing.assert_allclose(balanced_repeats(counts, 0.0), [1.0, 1.0, 1.0])
    # All alike: each of two classes gets half of the 100.
    np.testing.assert_allclose(balanced_repeats(counts, 1.0), [50 / 90, 5.0, 1.0])
    half = balanced_repeats(counts, 0.5)
    np.testing.assert_allclose((half * counts).sum(), 100, rtol=1e-5)
    np.testing.assert_allclose(half[1] / half[0], 3.0, rtol=1e-5)
    np.testing.assert_allclose(balanced_repeats(np.zeros(2, int), 1.0), [1.0, 1.0])


def stream(departments, leaves):
    products = np.arange(len(leaves))
    rows = np.stack([departments, leaves, products], axis=1).astype(np.int32)
    items = [f"item-{number}" for number in products]
    return tf.data.Dataset.from_tensor_slices((products, rows, items)).repeat()


def shown(repeats, departments, leaves, count, seed=3):
    table = np.array(repeats, np.float32)
    stream_ = repeat_rare(stream(np.array(departments), np.array(leaves)), table, seed=seed)
    return [(int(number), rows.numpy()) for number, rows, _ in stream_.take(count)]


def test_examples_are_repeated_as_often_as_their_deepest_class_says():
    leaves = [0] * 400 + [1] * 50 + [-1] * 20 + [-1] * 10
    departments = [0] * 450 + [1] * 20 + [-1] * 10
    repeats = [[9.0, 3.0], [0.5, 2.0]]
    # 400/2 + 50 * 2 + 20 * 3 + 10 elements come of a round.
    found = shown(repeats, departments, leaves, 50 * 370)
    kinds = [(int(rows[0]), int(rows[1])) for _, rows in found]
    shares = {kind: kinds.count(kind) / len(kinds) for kind in set(kinds)}
    assert shares.keys() == {(0, 0), (0, 1), (1, -1), (-1, -1)}
    for kind, share in {(0, 0): 200, (0, 1): 100, (1, -1): 60, (-1, -1): 10}.items():
        np.testing.assert_allclose(shares[kind], share / 370, rtol=0.1)


def test_what_is_left_out_changes_from_round_to_round_and_not_from_run_to_run():
    found = shown([[1.0], [0.25]], [0] * 40, [0] * 40, 400)
    assert {number for number, _ in found} == set(range(40))
    again = shown([[1.0], [0.25]], [0] * 40, [0] * 40, 400)
    assert [number for number, _ in again] == [number for number, _ in found]
    other = shown([[1.0], [0.25]], [0] * 40, [0] * 40, 400, seed=4)
    assert [number for number, _ in other] != [number for number, _ in found]


def test_views_of_a_product_come_together_and_none_is_lost():
    rng = np.random.default_rng(0)
    products = rng.permutation(np.repeat(np.arange(10), 6)).astype(np.int32)
    rows = np.stack([np.zeros(60, np.int32), products], axis=1)
    items = [str(number) for number in range(60)]
    found = list(bring_together(tf.data.Dataset.from_tensor_slices((items, rows, items)), 3))
    order = [int(row[1]) for _, row, _ in found]
    assert all(len(set(order[start : start + 3])) == 1 for start in range(0, 60, 3))
    assert sorted(item.numpy() for _, _, item in found) == sorted(name.encode() for name in items)
