import numpy as np
import pytest
from scipy import stats

from components.contracts.catalog import Item
from components.index.config import IndexConfig
from components.index.tune import (
    held_out_queries,
    initial_parameters,
    recall_lower_bound,
    tune,
)
from components.search.searcher import ExactSearcher


def unit(rows, dim=16, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("items", "backend"),
    [
        (1, "brute_force"),
        (19_999, "brute_force"),
        (20_000, "ah"),
        (99_999, "ah"),
        (100_000, "tree_ah"),
    ],
)
def test_backend_by_size(items, backend):
    assert initial_parameters(items, IndexConfig()).backend == backend


def test_a_tree_over_a_million_has_two_thousand_leaves():
    parameters = initial_parameters(1_000_000, IndexConfig())
    assert (parameters.leaves, parameters.soar) == (2000, True)


@pytest.mark.parametrize(("recall", "queries"), [(1.0, 500), (0.5, 10), (0.99, 300)])
def test_recall_bound_is_wilsons(recall, queries):
    test = stats.binomtest(round(recall * queries), queries)
    expected = test.proportion_ci(confidence_level=0.90, method="wilson").low
    assert recall_lower_bound(recall, queries) == pytest.approx(expected, abs=1e-4)


def test_recall_bound_without_queries_promises_nothing():
    assert recall_lower_bound(1.0, 0) == 0.0


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
    assert held_out_queries(np.empty((0, 16), np.float32), unit(1), count=3, seed=0).shape == (
        3,
        16,
    )


def items_of(count, views=3):
    return [Item(f"i{n}", "", "", "root", f"p{n // views}") for n in range(count)]


def test_exact_search_is_one_point_with_full_recall():
    tuned = tune(
        items_of(80), unit(80), unit(30, seed=1), IndexConfig(tuning_queries=60, latency_queries=5)
    )
    assert isinstance(tuned.searcher, ExactSearcher)
    [point] = tuned.points
    assert (point.recall, point.reorder, point.leaves_to_search) == (1.0, 0, 0)
    assert tuned.held_out.recall == 1.0
    assert tuned.queries == 30


@pytest.mark.parametrize("backend", ["ah", "tree_ah"])
def test_the_cheapest_setting_that_reaches_the_target_is_chosen(backend):
    config = IndexConfig(
        backend=backend, tuning_queries=400, latency_queries=20, recall_target=0.95, recall_at=5
    )
    tuned = tune(items_of(1500), unit(1500), unit(400, seed=1), config)
    chosen = tuned.points[tuned.chosen]
    assert chosen.recall_lower >= 0.95
    assert all(
        point.p50_ms >= chosen.p50_ms for point in tuned.points if point.recall_lower >= 0.95
    )
    assert (tuned.searcher.parameters.reorder, tuned.searcher.parameters.leaves_to_search) == (
        chosen.reorder,
        chosen.leaves_to_search,
    )
    # The curve has both ends: settings that miss the target and one that finds everything.
    assert min(point.recall for point in tuned.points) < 0.95
    assert max(point.recall for point in tuned.points) == 1.0
    assert tuned.held_out.recall > 0.93
