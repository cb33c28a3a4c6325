import shutil

import numpy as np
import pytest

from components.contracts.errors import InputError
from components.contracts.files import read_json, write_json
from components.search import growing
from components.search import searcher as search
from components.search.scann_backend import ScannSearcher
from components.search.searcher import ExactSearcher, IndexParameters
from components.search.sharded import ShardedSearcher, build_shards, load_shards, shard_sizes

AH = IndexParameters(backend="ah", reorder=200)
SOAR = IndexParameters(backend="tree_ah", leaves=6, leaves_to_search=6, reorder=200, soar=True)


def unit(rows, dim=16, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write(bundle, vectors, parameters, sizes):
    (bundle / "index").mkdir(parents=True)
    np.save(bundle / search.VECTORS_FILE, vectors)
    build_shards(vectors, parameters, sizes, bundle / search.SCANN_DIRECTORY)
    search.write_config(bundle, parameters, shape=vectors.shape, shards=sizes)


@pytest.mark.parametrize(
    ("items", "most", "sizes"),
    [(100, 100, [100]), (101, 100, [51, 50]), (1000, 300, [250] * 4), (7, 100, [7])],
)
def test_shards_are_few_and_even(items, most, sizes):
    assert shard_sizes(items, most) == sizes


def test_tiny_shards_are_refused():
    with pytest.raises(InputError, match=r"index\.shard_items: expected at least 32, received 31"):
        shard_sizes(100, 31)


@pytest.mark.parametrize("parameters", [AH, SOAR], ids=["ah", "soar"])
@pytest.mark.parametrize("resident", [True, False])
def test_the_shards_answers_are_merged_exactly(parameters, resident, tmp_path):
    vectors, queries = unit(301), unit(20, seed=1)
    write(tmp_path / "made", vectors, parameters, [101, 100, 100])
    shutil.move(tmp_path / "made", tmp_path / "moved")
    searcher = search.load(tmp_path / "moved", resident=resident)
    assert isinstance(searcher, ShardedSearcher)
    assert searcher.shape == (301, 16)
    # Every shard reorders all that it holds: the merged answer is that of exact search.
    truth, scores = ExactSearcher(vectors).search(queries, 10)
    found, values = searcher.search(queries, 10)
    np.testing.assert_array_equal(found, truth)
    np.testing.assert_allclose(values, scores, atol=1e-5)
    one, _ = searcher.search(queries[3:4], 10)
    np.testing.assert_array_equal(one, truth[3:4])


def test_more_than_there_is_is_padded_at_the_end(tmp_path):
    vectors = unit(70)
    write(tmp_path, vectors, AH, [35, 35])
    indices, scores = search.load(tmp_path).search(unit(2, seed=2), 80)
    for row in indices:
        assert sorted(row[:70].tolist()) == list(range(70))
    assert (indices[:, 70:] == -1).all()
    assert (scores[:, 70:] == -np.inf).all()


def test_equal_scores_stand_by_position(tmp_path):
    vectors = np.concatenate([unit(40), unit(40)])
    write(tmp_path, vectors, AH, [40, 40])
    indices, _ = search.load(tmp_path).search(vectors[5:6], 2)
    assert indices.tolist() == [[5, 45]]


def test_only_one_shard_is_in_memory_when_not_resident(tmp_path, monkeypatch):
    write(tmp_path, unit(120), AH, [40, 40, 40])
    real, alive = ScannSearcher.load, []

    def load(*arguments, **more):
        import gc
        import weakref

        gc.collect()
        assert sum(one() is not None for one in alive) <= 1  # The one just left, at most.
        made = real(*arguments, **more)
        alive.append(weakref.ref(made))
        return made

    monkeypatch.setattr(ScannSearcher, "load", load)
    searcher = search.load(tmp_path, resident=False)
    assert not alive
    searcher.search(unit(1, seed=1), 3)
    assert len(alive) == 3


def test_tuned_shards_search_differently(tmp_path):
    vectors, queries = unit(400), unit(30, seed=1)
    narrow = IndexParameters(backend="tree_ah", leaves=16, leaves_to_search=1, reorder=10)
    write(tmp_path, vectors, narrow, [200, 200])
    truth = ExactSearcher(vectors).search(queries, 10)[0]
    for resident in (True, False):
        searcher = search.load(tmp_path, resident=resident)
        wide = searcher.tuned(reorder=200, leaves_to_search=16)
        assert wide.parameters.leaves_to_search == 16
        np.testing.assert_array_equal(wide.search(queries, 10)[0], truth)
        assert not np.array_equal(searcher.search(queries, 10)[0], truth)


@pytest.mark.parametrize("parameters", [AH, SOAR], ids=["ah", "soar"])
def test_an_index_in_shards_grows_and_shrinks(parameters, tmp_path):
    rng = np.random.default_rng(4)
    vectors = unit(150)
    write(tmp_path / "0", vectors, parameters, [50, 50, 50])
    grown = growing.Grown(search.load(tmp_path / "0"), vectors, np.arange(150))
    for number in range(1, 4):
        before = grown.vectors
        replaced = rng.choice(len(before), 8, replace=False).tolist()
        rows = unit(12, seed=number)
        grown = growing.upsert(grown.searcher, before, [*replaced, *[None] * 4], rows)
        gone = rng.choice(len(grown.vectors), 45, replace=False).tolist()
        grown = growing.delete(grown.searcher, grown.vectors, gone)
        search.save(grown.searcher, grown.vectors, tmp_path / str(number))
        loaded = search.load(tmp_path / str(number))
        assert loaded.shape == grown.vectors.shape == (150 - 41 * number, 16)
        queries = unit(10, seed=number + 50)
        np.testing.assert_array_equal(
            loaded.search(queries, 5)[0], ExactSearcher(grown.vectors).search(queries, 5)[0]
        )
    assert len(loaded.sizes) == 1  # The others are empty, and gone.
    with pytest.raises(InputError, match="trained anew by the index step"):
        growing.rebalance(loaded, grown.vectors)


def test_shards_that_do_not_belong_together_are_refused(tmp_path):
    write(tmp_path, unit(120), AH, [40, 40, 40])
    config = read_json(tmp_path / search.CONFIG_FILE)
    for wrong in ([40, 40], [], "all"):
        write_json(tmp_path / search.CONFIG_FILE, config | {"shards": wrong})
        with pytest.raises(InputError, match="expected shards of 120 vectors in all"):
            search.load(tmp_path)
    write_json(tmp_path / search.CONFIG_FILE, config | {"shards": [50, 40, 30]})
    with pytest.raises(InputError, match="expected an index over 50 vectors, found 40"):
        search.load(tmp_path)
    write_json(tmp_path / search.CONFIG_FILE, config)
    shutil.rmtree(tmp_path / "index/scann/0001")
    with pytest.raises(InputError, match="expected the shards 0000, 0001, 0002, found 0000, 0002"):
        search.load(tmp_path)
    with pytest.raises(InputError, match="found nothing"):
        load_shards(tmp_path / "nowhere", AH, [40], dim=16, resident=True)


def test_queries_are_checked(tmp_path):
    write(tmp_path, unit(80), AH, [40, 40])
    with pytest.raises(InputError, match="another encoder"):
        search.load(tmp_path).search(unit(1, dim=8), 3)
