import numpy as np
import pytest

from components.contracts.catalog import Item
from components.index.measure import Questions
from components.index.queries import Sample
from components.search import searcher as search
from components.search.retrieval import BundleIndex
from components.search.searcher import ExactSearcher, IndexParameters


def unit(rows, dim=16, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def questions(vectors, queries, k=5):
    items = [Item(f"i{n}", "", "", "root", f"p{n}") for n in range(len(vectors))]
    exact = BundleIndex(items, vectors, ExactSearcher(vectors))
    return Questions(exact, Sample.of_photos(queries), k=k, timed=5)


class Blind:
    """Finds everything but the nearest neighbour."""

    parameters = IndexParameters(backend="ah", reorder=100)

    def __init__(self, vectors):
        self._exact = ExactSearcher(vectors)
        self.shape = self._exact.shape

    def search(self, vectors, k):
        indices, scores = self._exact.search(vectors, k + 1)
        return indices[:, 1:], scores[:, 1:]

    def save(self, directory):
        raise NotImplementedError


def test_recall_is_counted_against_exact_search():
    vectors, queries = unit(200), unit(50, seed=1)
    point = questions(vectors, queries).measure(Blind(vectors), build_seconds=3.0)
    # One of the five nearest is missed in each answer.
    assert point.recall == pytest.approx(0.8)
    assert 0.7 < point.recall_lower < 0.8
    assert point.build_seconds == 3.0
    assert 0 < point.p50_ms <= point.p95_ms
    assert point.cpu_ms > 0
    assert point.to_json()["parameters"]["backend"] == "ah"


def test_the_kind_of_query_that_fares_worse_counts():
    vectors, photos = unit(200), unit(30, seed=1)
    items = [Item(f"i{n}", "", "", "root", f"p{n // 2}") for n in range(200)]
    index = BundleIndex(items, vectors, ExactSearcher(vectors))

    def asked(rows):
        mixed = np.concatenate([photos, vectors[rows]])
        left_out = ("",) * len(photos) + tuple(items[row].product_id for row in rows)
        return Questions(index, Sample(mixed, left_out), k=5, timed=5)

    class Forgetful(Blind):
        """Finds everything for a photo, and for an item all but the second nearest product."""

        def search(self, vectors, k):
            indices, scores = self._exact.search(vectors, k)
            own = scores[:, 0] > 0.9999
            return np.where(own[:, None] & (np.arange(k) == 3), -1, indices), scores

    searcher = Forgetful(vectors)
    photos_alone = asked([]).measure(searcher)
    assert photos_alone.recall == 1.0
    mixed = asked(range(0, 120, 4)).measure(searcher)
    assert mixed.recall < 0.9
    assert mixed.recall_lower < mixed.recall
    # An item's own product is no answer: finding it makes up for nothing.
    assert asked(range(0, 120, 4)).measure(ExactSearcher(vectors)).recall == 1.0


def test_a_lone_product_has_nothing_to_find():
    vectors = unit(30)
    items = [Item(f"i{n}", "", "", "root", "p") for n in range(30)]
    index = BundleIndex(items, vectors, ExactSearcher(vectors))
    asked = Questions(index, Sample(vectors, ("p",) * 30), k=5, timed=0)
    point = asked.measure(Blind(vectors))
    assert (point.recall, point.recall_lower) == (0.0, 0.0)


def test_more_confidence_promises_less():
    vectors, queries = unit(200), unit(50, seed=1)
    asked = questions(vectors, queries)
    assert (
        asked.measure(Blind(vectors), confidence=0.99).recall_lower
        < asked.measure(Blind(vectors), confidence=0.9).recall_lower
    )
    assert len(asked) == 50


def test_exact_search_has_no_doubt():
    vectors = unit(30)
    point = questions(vectors, unit(3, seed=1)).measure(ExactSearcher(vectors))
    assert (point.recall, point.recall_lower) == (1.0, 1.0)
    assert point.memory_mb == pytest.approx(30 * 16 * 4 / 1e6)


@pytest.mark.parametrize(
    "parameters",
    [
        IndexParameters(backend="ah", reorder=50),
        IndexParameters(backend="ah", reorder=50, bfloat16_reorder=True),
        IndexParameters(backend="tree_ah", leaves=40, leaves_to_search=4, reorder=50),
        IndexParameters(backend="tree_ah", leaves=40, leaves_to_search=4, reorder=50, soar=True),
    ],
    ids=lambda one: f"{one.backend}-{one.soar}-{one.bfloat16_reorder}",
)
def test_memory_is_what_scann_writes(parameters, tmp_path):
    vectors = unit(4000, dim=32)
    search.save(search.build(vectors, parameters), vectors, tmp_path)
    # On disk each 4-bit code takes a byte; in memory two share one.
    written = sum(
        file.stat().st_size / (2 if file.name.startswith("hashed_dataset") else 1)
        for file in (tmp_path / "index/scann").iterdir()
    )
    counted = search.memory_bytes(parameters, 4000, 32)
    assert counted == pytest.approx(written, rel=0.1)


def test_a_race_tells_the_slow_from_the_fast():
    vectors = unit(3000, dim=64)

    class Slow(Blind):
        def search(self, vectors, k):
            super().search(np.repeat(vectors, 30, axis=0), k)
            return super().search(vectors, k)

    asked = questions(vectors, unit(20, dim=64, seed=1))
    fast, slow = asked.race([ExactSearcher(vectors), Slow(vectors)])
    assert 0 < fast < slow
