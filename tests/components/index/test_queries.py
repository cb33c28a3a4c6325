import numpy as np

from components.contracts.catalog import Item
from components.index.queries import held_out_queries, tuning_sample


def unit(rows, dim=16, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_held_out_queries_are_no_indexed_items():
    items, queries = unit(50), unit(8, seed=1)
    drawn = held_out_queries(queries, items, count=40, seed=3)
    assert drawn.shape == (40, 16)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-5)
    nearest_query, nearest_item = (drawn @ queries.T).max(axis=1), (drawn @ items.T).max(axis=1)
    assert np.sum(nearest_query > 0.9999) == 8  # The real ones, each once.
    np.testing.assert_array_equal(drawn, held_out_queries(queries, items, count=40, seed=3))
    assert len(held_out_queries(queries, items, count=5, seed=3)) == 5

    made = held_out_queries(np.empty((0, 16), np.float32), items, count=400, seed=3)
    assert (made @ items.T).max() < 0.999
    assert nearest_item.min() > 0.3


def test_a_made_query_lies_between_an_item_and_a_near_neighbour():
    items = unit(400)
    made = held_out_queries(np.empty((0, 16), np.float32), items, count=50, seed=3)
    two_best = np.sort(made @ items.T, axis=1)[:, -2:]
    assert (two_best > 0.6).all()


def test_a_lone_item_can_be_tuned_with():
    made = held_out_queries(np.empty((0, 16), np.float32), unit(1), count=3, seed=0)
    assert made.shape == (3, 16)


def test_tuning_asks_photos_and_items_without_their_own_product():
    vectors, queries = unit(60), unit(20, seed=1)
    items = [Item(f"i{n}", "", "", "root", f"p{n // 2}") for n in range(60)]
    sample = tuning_sample(items, vectors, queries, count=80, seed=3)
    photos, own = sample.kinds
    assert len(sample) == 80
    assert (len(photos), len(own)) == (40, 40)
    assert np.sum((sample.vectors[photos] @ queries.T).max(axis=1) > 0.9999) == 20
    for row in own:
        [item] = np.flatnonzero((vectors == sample.vectors[row]).all(axis=1))
        assert sample.left_out[row] == items[item].product_id
    # In random order: either half of the sample holds both kinds.
    assert [10 < np.sum(own < 40) < 30, len(sample[:40].kinds)] == [True, 2]
    again = tuning_sample(items, vectors, queries, count=80, seed=3)
    np.testing.assert_array_equal(sample.vectors, again.vectors)


def test_more_queries_than_items_are_photos():
    items = [Item(f"i{n}", "", "", "root", f"p{n}") for n in range(5)]
    sample = tuning_sample(items, unit(5), np.empty((0, 16), np.float32), count=40, seed=3)
    assert [len(rows) for rows in sample.kinds] == [35, 5]
