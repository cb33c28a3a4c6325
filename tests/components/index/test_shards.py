import numpy as np

from components.contracts.catalog import Item
from components.index import shards as shards_module
from components.index.config import IndexConfig
from components.index.shards import build_in_shards
from components.search import searcher as search
from components.search.searcher import ExactSearcher
from components.search.sharded import ShardedSearcher

SMALL = {"tuning_queries": 200, "latency_queries": 5, "recall_at": 5, "tuning_seconds": 0}


def unit(rows, dim=16, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def items_of(count):
    return [Item(f"i{n}", f"/i{n}.jpg", "h", "root", f"p{n // 2}") for n in range(count)]


def build(bundle, config, vectors, queries):
    (bundle / "index").mkdir()
    np.save(bundle / search.VECTORS_FILE, vectors)
    return build_in_shards(items_of(len(vectors)), vectors, queries, config, bundle)


def test_a_catalog_larger_than_a_shard_is_built_in_shards(tmp_path):
    vectors, queries = unit(1000), unit(120, seed=1)
    config = IndexConfig(backend="tree_ah", shard_items=300, recall_target=0.9, **SMALL)
    tuned = build(tmp_path, config, vectors, queries)
    assert isinstance(tuned.searcher, ShardedSearcher)
    assert tuned.searcher.sizes == (250, 250, 250, 250)
    assert tuned.builds == 1
    assert tuned.held_out.recall_lower >= 0.9
    assert tuned.queries == 100
    loaded = search.load(tmp_path)
    assert loaded.parameters == tuned.searcher.parameters == tuned.held_out.parameters
    asked = unit(100, seed=5)
    truth = ExactSearcher(vectors).search(asked, 5)[0].tolist()
    found = loaded.search(asked, 5)[0].tolist()
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found, truth)]) >= 0.9


def test_the_whole_is_searched_wider_when_it_finds_less_than_the_sample(tmp_path, monkeypatch):
    real, measured = shards_module.Questions.measure, []

    def measure(self, searcher, **more):
        point = real(self, searcher, **more)
        if isinstance(searcher, ShardedSearcher):
            measured.append(searcher.parameters.reorder)
            if len(measured) == 1:
                return shards_module.replace(point, recall=0.5, recall_lower=0.4)
        return point

    monkeypatch.setattr(shards_module.Questions, "measure", measure)
    config = IndexConfig(backend="ah", shard_items=300, recall_target=0.9, **SMALL)
    tuned = build(tmp_path, config, unit(500), unit(60, seed=1))
    assert len(measured) == 2
    assert measured[1] == round(1.5 * measured[0])
    assert search.load(tmp_path).parameters.reorder == measured[1]
    assert tuned.held_out.recall_lower >= 0.9


def test_exact_search_needs_no_shards(tmp_path):
    vectors = unit(500)
    config = IndexConfig(backend="brute_force", shard_items=300, **SMALL)
    tuned = build(tmp_path, config, vectors, unit(10, seed=1))
    assert isinstance(tuned.searcher, ExactSearcher)
    assert tuned.searcher.shape == (500, 16)
    assert search.load(tmp_path).shape == (500, 16)
