import numpy as np
import pytest

from components.contracts.errors import InputError
from components.search import growing
from components.search import searcher as search
from components.search.searcher import ExactSearcher, IndexParameters

PARAMETERS = {
    "brute_force": IndexParameters(),
    "ah": IndexParameters(backend="ah", reorder=40),
    "tree_ah": IndexParameters(backend="tree_ah", leaves=8, leaves_to_search=8, reorder=60),
    "soar": IndexParameters(backend="tree_ah", leaves=8, leaves_to_search=8, reorder=60, soar=True),
    "bfloat16": IndexParameters(backend="ah", reorder=40, bfloat16_reorder=True),
}


def unit(rows, dim=16, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def check(grown, seed=9):
    """Every vector is found at its own position; answers are those of exact search."""
    items = len(grown.vectors)
    assert grown.searcher.shape == grown.vectors.shape
    queries = unit(20, seed=seed)
    indices, scores = grown.searcher.search(queries, 10)
    assert all(len(set(row)) == min(10, items) for row in indices.tolist())
    np.testing.assert_allclose(
        scores, np.einsum("qd,qkd->qk", queries, grown.vectors[indices]), atol=1e-2
    )
    truth = np.argsort(-(queries @ grown.vectors.T), axis=1)[:, :10]
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(indices.tolist(), truth.tolist())]
    assert np.mean(shared) > 0.9
    everything, _ = grown.searcher.search(queries[:1], items)
    assert sorted(everything[0].tolist()) == list(range(items))


def test_deleting_by_hand():
    vectors = unit(6)
    grown = growing.delete(ExactSearcher(vectors), vectors, [1, 4])
    # 4 goes first and 5 moves there; then 1 goes and what stands last, 5 at place 4, moves there.
    assert grown.order.tolist() == [0, 5, 2, 3]
    np.testing.assert_array_equal(grown.vectors, vectors[[0, 5, 2, 3]])


def test_upserting_by_hand():
    vectors, rows = unit(4), unit(3, seed=1)
    grown = growing.upsert(ExactSearcher(vectors), vectors, [None, 2, None], rows)
    assert grown.order.tolist() == [0, 1, -1, 3, -1, -1]
    np.testing.assert_array_equal(grown.vectors[[2, 4, 5]], rows[[1, 0, 2]])
    np.testing.assert_array_equal(vectors, unit(4))  # What was given is not changed.


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("reload", [False, True])
def test_many_changes_leave_an_index_that_answers_right(name, reload, tmp_path):
    rng = np.random.default_rng(3)
    vectors = unit(400)
    grown = growing.Grown(search.build(vectors, PARAMETERS[name]), vectors, np.arange(400))
    for number in range(6):
        if reload:
            search.save(grown.searcher, grown.vectors, tmp_path / f"{number}")
            grown = growing.Grown(
                search.load(tmp_path / f"{number}"), grown.vectors, np.arange(len(grown.vectors))
            )
        before = grown.vectors
        gone = rng.choice(len(before), 25, replace=False).tolist()
        grown = growing.delete(grown.searcher, before, gone)
        assert sorted(grown.order.tolist()) == sorted(set(range(len(before))) - set(gone))
        np.testing.assert_array_equal(grown.vectors, before[grown.order])
        check(grown, seed=number + 10)

        before = grown.vectors
        replaced = rng.choice(len(before), 15, replace=False).tolist()
        places = [*replaced[:7], None, None, *replaced[7:], None]
        rows = unit(18, seed=100 + number)
        grown = growing.upsert(grown.searcher, before, places, rows)
        assert len(grown.vectors) == len(before) + 3
        np.testing.assert_array_equal(
            grown.vectors[[*replaced, -3, -2, -1]], rows[[*range(7), *range(9, 17), 7, 8, 17]]
        )
        check(grown, seed=number + 20)


@pytest.mark.parametrize("name", PARAMETERS)
def test_an_index_shrinks_to_one_item_and_grows_again(name):
    vectors = unit(60)
    grown = growing.delete(search.build(vectors, PARAMETERS[name]), vectors, list(range(1, 60)))
    indices, _ = grown.searcher.search(unit(2, seed=4), 3)
    assert indices.tolist() == [[0, -1, -1]] * 2
    grown = growing.upsert(grown.searcher, grown.vectors, [None] * 30, unit(30, seed=5))
    check(grown)
    with pytest.raises(InputError, match="received all 31"):
        growing.delete(grown.searcher, grown.vectors, list(range(31)))


@pytest.mark.parametrize("name", ["ah", "soar"])
@pytest.mark.parametrize(
    ("positions", "rows", "message"),
    [
        ([None], np.full((1, 16), np.nan, np.float32), "norm 1, received 1 that are not"),
        ([None], np.zeros((1, 16), np.float32), "with norm 0"),
        ([None], unit(1, dim=8), "expected vectors of 16 dimensions, received 8"),
        ([100], unit(1), "expected positions from 0 to 99, received 100"),
        ([-1], unit(1), "received -1"),
        ([3, 3], unit(2), "each position once"),
        ([None], unit(2), "received 1 for 2 rows"),
    ],
)
def test_a_bad_upsert_changes_nothing(name, positions, rows, message):
    vectors = unit(100)
    searcher = search.build(vectors, PARAMETERS[name])
    with pytest.raises(InputError, match=message):
        growing.upsert(searcher, vectors, positions, rows)
    check(growing.Grown(searcher, vectors, np.arange(100)))


@pytest.mark.parametrize(
    ("positions", "message"), [([100], "received 100"), ([1, 1], "each position once")]
)
def test_a_bad_delete_changes_nothing(positions, message):
    vectors = unit(100)
    searcher = search.build(vectors, PARAMETERS["ah"])
    with pytest.raises(InputError, match=message):
        growing.delete(searcher, vectors, positions)
    check(growing.Grown(searcher, vectors, np.arange(100)))
    with pytest.raises(InputError, match=r"built over, \[100, 16\], received \[99, 16\]"):
        growing.delete(searcher, vectors[:99], [1])


@pytest.mark.parametrize("name", PARAMETERS)
def test_nothing_to_change_is_no_change(name):
    vectors = unit(100)
    grown = growing.delete(search.build(vectors, PARAMETERS[name]), vectors, [])
    grown = growing.upsert(grown.searcher, vectors, [], np.empty((0, 16), np.float32))
    assert grown.order.tolist() == list(range(100))
    check(grown)


@pytest.mark.parametrize("name", PARAMETERS)
def test_rebalancing_trains_anew_and_drops_tombstones(name, tmp_path):
    vectors = unit(200)
    grown = growing.delete(search.build(vectors, PARAMETERS[name]), vectors, list(range(180)))
    again = growing.rebalance(grown.searcher, grown.vectors)
    search.save(again, grown.vectors, tmp_path)
    assert not list(tmp_path.rglob("positions.npy"))
    assert again.parameters.backend == PARAMETERS[name].backend
    assert again.parameters.leaves == min(PARAMETERS[name].leaves, 5)
    check(growing.Grown(again, grown.vectors, np.arange(20)))


def test_positions_of_another_index_are_refused(tmp_path):
    vectors = unit(100)
    grown = growing.delete(search.build(vectors, PARAMETERS["soar"]), vectors, [5, 6])
    search.save(grown.searcher, grown.vectors, tmp_path)
    path = tmp_path / "index/scann/positions.npy"
    positions = np.load(path)
    assert np.flatnonzero(positions < 0).tolist() == [5, 6]
    for wrong in (positions[:-1], np.zeros_like(positions), positions.astype(np.int32)):
        np.save(path, wrong)
        with pytest.raises(InputError, match=r"positions\.npy: expected int64 \[100\]"):
            search.load(tmp_path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="expected a npy file"):
        search.load(tmp_path)
