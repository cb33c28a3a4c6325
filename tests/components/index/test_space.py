import pytest

from components.index import space
from components.index.config import IndexConfig
from components.search.searcher import IndexParameters


@pytest.mark.parametrize(
    ("items", "backends"),
    [
        (1, []),
        (19_999, []),
        (20_000, ["tree_ah", "ah"]),
        (199_999, ["tree_ah", "ah"]),
        (200_000, ["tree_ah"]),
    ],
)
def test_what_is_tried_at_a_size(items, backends):
    assert [one.backend for one in space.starts(items, 64, IndexConfig())] == backends


def test_a_chosen_backend_is_the_only_one():
    for backend, expected in (("ah", ["ah"]), ("tree_ah", ["tree_ah"]), ("brute_force", [])):
        found = space.starts(500, 64, IndexConfig(backend=backend))
        assert [one.backend for one in found] == expected


def test_a_tree_over_a_million_begins_with_four_thousand_leaves():
    [tree] = space.starts(1_000_000, 128, IndexConfig())
    assert (tree.leaves, tree.soar) == (4000, True)


def test_long_vectors_begin_with_more_dimensions_a_code():
    for dim, expected in ((64, 2), (512, 2), (784, 4), (2048, 8)):
        [tree] = space.starts(1_000_000, dim, IndexConfig())
        assert tree.dimensions_per_block == expected
        assert dict(space.moves(tree))["dimensions_per_block"] == (2 * expected,)


def test_partitions_stay_in_bounds():
    tree = IndexParameters(backend="tree_ah", leaves=100, leaves_to_search=5)
    assert space.with_leaves(tree, 2.0, 10_000).leaves == 200
    assert space.with_leaves(tree, 2.0, 500) is None
    few = IndexParameters(backend="tree_ah", leaves=3, leaves_to_search=1)
    assert space.with_leaves(few, 0.5, 100).leaves == 2
    assert space.with_leaves(few, 0.25, 100) is None


def test_settings_ascend_to_the_whole_tree():
    tree = IndexParameters(backend="tree_ah", leaves=1000, leaves_to_search=50)
    counts = space.leaf_counts(tree)
    assert counts == sorted(set(counts))
    assert (counts[0], counts[-1]) == (3, 1000)
    assert space.leaf_counts(IndexParameters(backend="ah")) == [0]
    assert space.reorder_widths(1000, 10) == [40, 60, 100, 150, 250, 400, 1000]
    assert space.reorder_widths(50, 10) == [40, 50]


def test_small_catalogs_can_be_scored_whole():
    tree = IndexParameters(backend="tree_ah", leaves=10, leaves_to_search=2)
    whole = space.exhaustive(tree, 500)
    assert (whole.leaves_to_search, whole.reorder) == (10, 500)
    assert space.exhaustive(tree, 1_000_000) is None
