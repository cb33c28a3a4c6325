import numpy as np
import pytest

from components.contracts.catalog import Item
from components.contracts.errors import LookalikeError
from components.index import space
from components.index import tune as tune_module
from components.index.config import IndexConfig
from components.index.measure import Point
from components.index.tune import tune
from components.search.searcher import ExactSearcher, IndexParameters

SMALL = {"tuning_queries": 800, "latency_queries": 20, "recall_at": 5}


def unit(rows, dim=16, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def items_of(count, views=3):
    return [Item(f"i{n}", "", "", "root", f"p{n // views}") for n in range(count)]


def run(config, rows=1500, dim=16):
    return tune(items_of(rows), unit(rows, dim), unit(400, dim, seed=1), config)


def test_exact_search_is_one_point_with_full_recall():
    tuned = tune(
        items_of(80), unit(80), unit(30, seed=1), IndexConfig(tuning_queries=60, latency_queries=5)
    )
    assert isinstance(tuned.searcher, ExactSearcher)
    [point] = tuned.points
    assert (point.recall, point.recall_lower) == (1.0, 1.0)
    assert tuned.held_out.recall == 1.0
    assert (tuned.queries, tuned.builds, tuned.stopped) == (30, 0, "")


@pytest.mark.parametrize("backend", ["ah", "tree_ah"])
def test_a_fast_setting_that_reaches_the_target_is_chosen(backend):
    tuned = run(IndexConfig(backend=backend, recall_target=0.95, **SMALL))
    chosen = tuned.points[tuned.chosen]
    assert chosen.recall_lower >= 0.95
    assert tuned.held_out.recall_lower >= 0.95
    # Which one is the fastest hangs on the machine's mood; which of two is better is tested below.
    assert tuned.searcher.parameters == chosen.parameters == tuned.held_out.parameters
    assert min(point.recall for point in tuned.points) < 0.95
    assert tuned.builds >= 4


def test_free_choice_weighs_every_backend():
    tuned = run(IndexConfig(brute_force_below=10, recall_target=0.9, **SMALL))
    assert {point.parameters.backend for point in tuned.points} == {"brute_force", "ah", "tree_ah"}
    tried = [point.parameters for point in tuned.points]
    assert {one.bfloat16_reorder for one in tried} == {True, False}
    assert len({one.anisotropic_threshold for one in tried}) == 3


def test_a_tree_is_tried_with_and_without_soar_and_with_other_partitions():
    tuned = run(IndexConfig(backend="tree_ah", recall_target=0.9, **SMALL))
    tried = [point.parameters for point in tuned.points]
    assert {one.soar for one in tried} == {True, False}
    assert len({one.leaves for one in tried}) >= 2


def test_an_index_is_built_once():
    tuned = run(IndexConfig(brute_force_below=10, recall_target=0.9, **SMALL))
    built = {
        space.as_built(point.parameters)
        for point in tuned.points
        if point.parameters.backend != "brute_force"
    }
    assert len(built) == tuned.builds


def test_the_time_budget_ends_the_search():
    tuned = run(IndexConfig(backend="tree_ah", tuning_seconds=0, recall_target=0.9, **SMALL))
    assert tuned.builds == 1
    assert "index.tuning_seconds are nearly spent" in tuned.stopped
    assert tuned.held_out.recall_lower >= 0.9


def test_the_memory_limit_holds():
    limit = 1500 * 16 * 4 * 0.9 / 1e6  # Less than the vectors themselves.
    config = IndexConfig(backend="ah", memory_limit_mb=1, recall_target=0.9, **SMALL)
    assert run(config).searcher.parameters.backend == "ah"
    tuner = tune_module._Tuner(unit(10), None, config, 0.0)
    small, big = (
        Point(IndexParameters(), 1.0, 1.0, 0.1, 0.1, 0.1, memory, 0.0) for memory in (0.9, 1.1)
    )
    assert tuner._better(small, big)
    assert not tuner._better(big, small)
    assert limit < 1


def test_without_scann_the_choice_is_exact_search_and_says_why(monkeypatch):
    from components.search import scann_backend

    def refuse(name):
        raise ImportError(f"no wheel of {name}")

    monkeypatch.setattr(scann_backend.importlib, "import_module", refuse)
    tuned = run(IndexConfig(brute_force_below=10, **SMALL))
    assert isinstance(tuned.searcher, ExactSearcher)
    assert tuned.builds == 0
    assert "ScaNN cannot be imported (no wheel of scann" in tuned.stopped
    with pytest.raises(LookalikeError, match="install lookalike"):
        run(IndexConfig(backend="ah", **SMALL))


def point(cpu, memory, lower=1.0):
    return Point(IndexParameters(), lower, lower, cpu, cpu, cpu, memory, 0.0)


@pytest.mark.parametrize(
    ("one", "other", "better"),
    [
        (point(0.9, 10), point(1.0, 10), True),
        (point(0.98, 10), point(1.0, 10), False),  # Level, and no smaller.
        (point(1.04, 7), point(1.0, 10), True),  # Level, and a third smaller.
        (point(1.1, 5), point(1.0, 10), False),
        (point(0.1, 1, lower=0.5), point(1.0, 10), False),  # Misses the target.
        (point(1.0, 10), point(0.1, 1, lower=0.5), True),
        (point(1.0, 10, lower=0.6), point(0.1, 1, lower=0.5), True),
    ],
)
def test_which_of_two_is_better(one, other, better):
    tuner = tune_module._Tuner(unit(10), None, IndexConfig(recall_target=0.9), 0.0)
    assert tuner._better(one, other) is better


def test_a_target_out_of_reach_falls_back_to_exact_search_or_the_best_bound():
    # 20 queries prove no recall of 0.999.
    few = {"tuning_queries": 40, "latency_queries": 5, "recall_at": 5, "recall_target": 0.999}
    free = run(IndexConfig(brute_force_below=10, **few), rows=300)
    assert isinstance(free.searcher, ExactSearcher)
    bound = run(IndexConfig(backend="ah", **few), rows=300)
    assert bound.searcher.parameters.backend == "ah"
    assert bound.held_out.recall_lower < 0.999
    assert bound.held_out.recall == 1.0


def test_a_setting_that_does_not_prove_itself_gives_way(monkeypatch):
    tuner = tune_module._Tuner(unit(300), None, IndexConfig(backend="ah", recall_target=0.9), 0.0)
    from components.search import searcher as search

    built = search.build(unit(300), IndexParameters(backend="ah", reorder=40))
    measured = []
    for reorder, cpu, lower in (
        (40, 1.0, 0.91),
        (60, 1.2, 0.90),
        (100, 1.5, 0.95),
        (250, 2.0, 0.99),
    ):
        tuned = built.tuned(reorder=reorder, leaves_to_search=0)
        measured.append(
            tune_module._Built(
                tuned, Point(tuned.parameters, lower, lower, cpu, cpu, cpu, 1.0, 0.0)
            )
        )
    tuner.points = [one.point for one in measured]
    tuner._best = measured[0]

    class KeptBack:
        def __init__(self):
            self.asked = []

        def measure(self, searcher, **_):
            reorder = searcher.parameters.reorder
            self.asked.append(reorder)
            lower = {40: 0.85, 100: 0.93, 250: 0.99}[reorder]
            return Point(searcher.parameters, lower, lower, 1.0, 1.0, 1.0, 1.0, 0.0)

    kept_back = KeptBack()
    searcher, chosen, held_out = tuner.confirm(kept_back)
    # 60 found less than 40 did: it is no step up.
    assert kept_back.asked == [40, 100]
    assert (searcher.parameters.reorder, chosen, held_out.recall_lower) == (100, 2, 0.93)
