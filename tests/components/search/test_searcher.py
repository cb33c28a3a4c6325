import itertools
import os
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.contracts.errors import InputError
from components.contracts.files import read_json, write_json
from components.search import searcher as search
from components.search.searcher import ExactSearcher, IndexParameters, check_vectors

PARAMETERS = {
    "brute_force": IndexParameters(),
    "ah": IndexParameters(backend="ah", reorder=40),
    "tree_ah": IndexParameters(backend="tree_ah", leaves=8, leaves_to_search=4, reorder=60),
    "soar": IndexParameters(backend="tree_ah", leaves=8, leaves_to_search=4, reorder=60, soar=True),
    "bfloat16": IndexParameters(backend="ah", reorder=40, bfloat16_reorder=True),
}


def unit(rows, dim=16, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def oracle(vectors, queries, k):
    """Nearest positions in double precision, by a full sort."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def test_exact_search_by_hand():
    vectors = np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8]], np.float32)
    indices, scores = ExactSearcher(vectors).search(np.array([[1, 0], [0, 1]], np.float32), 3)
    assert indices.tolist() == [[0, 3, 1], [1, 3, 0]]
    np.testing.assert_allclose(scores, [[1, 0.6, 0], [1, 0.8, 0]], atol=1e-7)
    assert indices.dtype == np.int64
    assert scores.dtype == np.float32


def test_exact_search_orders_equal_scores_by_position():
    vectors = np.repeat(np.array([[1, 0]], np.float32), 5, axis=0)
    indices, _ = ExactSearcher(vectors).search(vectors[:1], 5)
    assert indices.tolist() == [[0, 1, 2, 3, 4]]
    assert ExactSearcher(vectors).search(vectors[:2], 2)[0].tolist() == [[0, 1], [0, 1]]


def test_exact_search_in_blocks_answers_as_in_one(monkeypatch):
    vectors, queries = unit(50), unit(23, seed=1)
    whole = ExactSearcher(vectors).search(queries, 7)
    monkeypatch.setattr(search, "_EXACT_BLOCK", 100)
    blocks = ExactSearcher(vectors).search(queries, 7)
    np.testing.assert_array_equal(whole[0], blocks[0])
    np.testing.assert_array_equal(whole[0], oracle(vectors, queries, 7))


@pytest.mark.parametrize("queries", [1, 9])
def test_exact_search_over_item_blocks_answers_as_in_one(monkeypatch, queries):
    # Repeated vectors: equal scores across blocks are ordered by position all the same.
    vectors = np.concatenate([unit(60), unit(60)[::-1], unit(37, seed=3)])
    asked = np.concatenate([unit(queries - 1, seed=1), vectors[5:6]]) if queries > 1 else unit(1)
    whole = ExactSearcher(vectors).search(asked, 12)
    monkeypatch.setattr(search, "_EXACT_ITEMS", 20)
    blocks = ExactSearcher(vectors).search(asked, 12)
    np.testing.assert_array_equal(whole[0], blocks[0])
    np.testing.assert_allclose(whole[1], blocks[1], atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 40), queries=st.integers(0, 5), k=st.integers(1, 60))
def test_exact_search_pads_what_is_not_there(rows, queries, k):
    indices, scores = ExactSearcher(unit(rows)).search(unit(queries, seed=1), k)
    found = min(rows, k)
    assert indices.shape == scores.shape == (queries, k)
    assert (indices[:, found:] == -1).all()
    assert (scores[:, found:] == -np.inf).all()
    for row in indices[:, :found]:
        assert len(set(row.tolist())) == found


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_backend_finds_nearly_what_exact_search_finds(name):
    vectors, queries = unit(600), unit(40, seed=1)
    searcher = search.build(vectors, PARAMETERS[name])
    indices, scores = searcher.search(queries, 10)
    truth = oracle(vectors, queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(indices.tolist(), truth.tolist())])
    assert recall >= (1.0 if name == "brute_force" else 0.85)
    true_scores = np.einsum("qd,qkd->qk", queries, vectors[indices])
    np.testing.assert_allclose(scores, true_scores, atol=1e-2 if name == "bfloat16" else 1e-5)
    assert (np.diff(scores, axis=1) <= 1e-6).all()


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("queries", [1, 3])
def test_no_phantom_hits_and_no_silent_truncation(name, queries):
    vectors = unit(100)
    searcher = search.build(vectors, PARAMETERS[name])
    # More than the reorder width, more than the partitions searched hold, more than there is.
    indices, scores = searcher.search(unit(queries, seed=1), 130)
    assert (indices[:, 100:] == -1).all()
    assert (scores[:, 100:] == -np.inf).all()
    assert np.isfinite(scores[:, :100]).all()
    for row in indices:
        assert sorted(row[:100].tolist()) == list(range(100))
    assert searcher.search(np.empty((0, 16), np.float32), 5)[0].shape == (0, 5)


@pytest.mark.parametrize("name", PARAMETERS)
def test_one_query_is_answered_as_in_a_batch(name):
    vectors, queries = unit(300), unit(6, seed=1)
    searcher = search.build(vectors, PARAMETERS[name])
    batch, batch_scores = searcher.search(queries, 10)
    for row in range(6):
        one, scores = searcher.search(queries[row : row + 1], 10)
        assert one[0].tolist() == batch[row].tolist()
        np.testing.assert_allclose(scores[0], batch_scores[row], atol=1e-5)


@pytest.mark.parametrize("name", PARAMETERS)
def test_search_after_reload_from_a_moved_directory_is_the_same(name, tmp_path):
    vectors, queries = unit(300), unit(20, seed=1)
    searcher = search.build(vectors, PARAMETERS[name])
    before = searcher.search(queries, 10)
    search.save(searcher, vectors, tmp_path / "made")
    shutil.move(tmp_path / "made", tmp_path / "moved")
    loaded = search.load(tmp_path / "moved")
    after = loaded.search(queries, 10)
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_allclose(before[1], after[1], atol=1e-6)
    assert loaded.parameters == PARAMETERS[name]
    assert loaded.shape == (300, 16)
    assert not list(tmp_path.rglob("*.pkl"))
    for path in (tmp_path / "moved").rglob("*.pbtxt"):
        assert str(tmp_path) not in path.read_text()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda v: v.__setitem__((3, 2), np.nan), "norm 1, received 1 that are not, first 'id3'"),
        (lambda v: v.__setitem__((3, 2), np.inf), "first 'id3'"),
        (lambda v: v.__setitem__(4, 0.0), "first 'id4' with norm 0"),
        (lambda v: v.__setitem__(5, v[5] * 1.1), "first 'id5' with norm 1.1"),
    ],
)
def test_vectors_that_would_abort_scann_are_refused(break_it, message):
    vectors = unit(20)
    break_it(vectors)
    with pytest.raises(InputError, match=message):
        check_vectors(vectors, [f"id{row}" for row in range(20)])
    with pytest.raises(InputError, match="norm 1"):
        search.build(vectors, PARAMETERS["ah"])


def test_checks_name_what_is_wrong():
    vectors = unit(4)
    with pytest.raises(InputError, match="received twice: b"):
        check_vectors(vectors, ["a", "b", "b", "c"])
    with pytest.raises(InputError, match="received 3 ids for 4 rows"):
        check_vectors(vectors, ["a", "b", "c"])
    with pytest.raises(InputError, match=r"float32 \[items, dim\], received float64"):
        check_vectors(vectors.astype(np.float64), ["a", "b", "c", "d"])
    with pytest.raises(InputError, match="at least 5 rows"):
        check_vectors(vectors, ["a", "b", "c", "d"], minimum=5)
    check_vectors(vectors, ["a", "b", "c", "d"])


@pytest.mark.parametrize("name", ["ah", "tree_ah"])
def test_too_few_points_to_quantise_are_refused(name):
    with pytest.raises(InputError, match="at least 16 rows"):
        search.build(unit(15), PARAMETERS[name])
    small = IndexParameters(backend="tree_ah", leaves=2, leaves_to_search=1, reorder=20)
    found = search.build(unit(16), small if name == "tree_ah" else PARAMETERS[name])
    assert sorted(found.search(unit(1, seed=2), 16)[0][0].tolist()) == list(range(16))


@pytest.mark.parametrize("name", ["brute_force", "ah"])
def test_queries_are_checked(name):
    searcher = search.build(unit(50), PARAMETERS[name])
    with pytest.raises(InputError, match=r"float32 \[queries, 16\], received float32 \[1, 8\]"):
        searcher.search(unit(1, dim=8), 3)
    with pytest.raises(InputError, match="first in row 1"):
        searcher.search(np.stack([unit(1)[0], np.full(16, np.nan, np.float32)]), 3)
    with pytest.raises(InputError, match="k of at least 1"):
        searcher.search(unit(1), 0)


def test_a_pickle_in_the_index_is_never_loaded(tmp_path):
    vectors = unit(50)
    search.save(search.build(vectors, PARAMETERS["ah"]), vectors, tmp_path)
    # Loading this pickle would write the file `executed`.
    marker = tmp_path / "executed"
    (tmp_path / "index/scann/scann_docids.pkl").write_bytes(
        b"cpathlib\nPath\n(S'" + str(marker).encode() + b"'\ntRp0\n."
    )
    with pytest.raises(InputError, match="pickles are never loaded"):
        search.load(tmp_path)
    assert not marker.exists()


def test_damaged_or_foreign_files_are_refused(tmp_path):
    vectors = unit(50)
    search.save(search.build(vectors, PARAMETERS["ah"]), vectors, tmp_path)
    config = read_json(tmp_path / search.CONFIG_FILE)

    write_json(tmp_path / search.CONFIG_FILE, {**config, "items": 49})
    with pytest.raises(InputError, match=r"expected \[49, 16\]"):
        search.load(tmp_path)

    newer = {**config["parameters"], "magic": 1}
    write_json(tmp_path / search.CONFIG_FILE, {**config, "parameters": newer})
    with pytest.raises(InputError, match="unknown field 'magic'"):
        search.load(tmp_path)

    write_json(tmp_path / search.CONFIG_FILE, config)
    np.save(tmp_path / search.VECTORS_FILE, vectors.astype(np.float64))
    with pytest.raises(InputError, match="found float64"):
        search.load(tmp_path)

    (tmp_path / search.VECTORS_FILE).write_bytes(b"not npy")
    with pytest.raises(InputError, match=r"vectors\.npy: expected a npy file"):
        search.load(tmp_path)

    search.save(ExactSearcher(unit(40)), unit(40), tmp_path)
    write_json(
        tmp_path / search.CONFIG_FILE,
        {"items": 40, "dim": 16, "parameters": PARAMETERS["ah"].to_json()},
    )
    with pytest.raises(InputError, match="over 40 vectors, found 50"):
        search.load(tmp_path)

    (tmp_path / "index/scann/scann_assets.pbtxt").unlink()
    with pytest.raises(InputError, match="found nothing there"):
        search.load(tmp_path)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"backend": "hnsw"}, "backend 'hnsw'"),
        ({"backend": "tree_ah", "leaves": 4}, "leaves_to_search=0, leaves=4"),
        ({"backend": "tree_ah", "leaves": 4, "leaves_to_search": 5}, "leaves_to_search=5"),
        ({"backend": "ah", "soar": True}, "soar needs the backend tree_ah"),
        ({"reorder": 0}, "received 0 and 2"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(settings_, message):
    with pytest.raises(InputError, match=message):
        IndexParameters(**settings_)


def test_parameters_round_trip():
    for parameters in PARAMETERS.values():
        assert IndexParameters.from_json(parameters.to_json()) == parameters


def test_tensorflow_is_hidden_only_while_scann_is_imported(monkeypatch):
    from components.search import scann_backend

    seen = []

    def spy(name):
        seen.append((name, sys.modules["tensorflow"]))
        return types.ModuleType(name)

    monkeypatch.setattr(scann_backend.importlib, "import_module", spy)
    stand_in = types.ModuleType("tensorflow")
    monkeypatch.setitem(sys.modules, "tensorflow", stand_in)
    scann_backend._import_scann()
    assert seen == [("scann.scann_ops.py.scann_ops_pybind", None)]
    assert sys.modules["tensorflow"] is stand_in

    monkeypatch.delitem(sys.modules, "tensorflow")
    scann_backend._import_scann()
    assert "tensorflow" not in sys.modules


@pytest.mark.slow
@pytest.mark.parametrize("first", ["tensorflow", "scann"])
def test_tensorflow_and_scann_live_in_one_process(first):
    one, other = "with_tensorflow()", "with_scann()"
    order = f"{one}; {other}" if first == "tensorflow" else f"{other}; {one}"
    code = f"""
import numpy as np
def with_tensorflow():
    import tensorflow as tf
    assert int(tf.reduce_sum(tf.constant([1, 2]))) == 3
def with_scann():
    from components.search import searcher
    vectors = np.eye(32, dtype=np.float32)
    built = searcher.build(vectors, searcher.IndexParameters(backend="ah", reorder=32))
    assert built.search(vectors[5:6], 1)[0].tolist() == [[5]]
for _ in range(2):
    {order}
"""
    path = os.pathsep.join(filter(None, sys.path))
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})


def test_tuned_searches_the_same_index_differently():
    vectors, queries = unit(600), unit(40, seed=1)
    narrow = search.build(
        vectors, IndexParameters(backend="tree_ah", leaves=24, leaves_to_search=1, reorder=10)
    )
    wide = narrow.tuned(reorder=600, leaves_to_search=24)
    truth = oracle(vectors, queries, 10)

    def recall(searcher):
        found = searcher.search(queries, 10)[0].tolist()
        return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth.tolist())])

    assert recall(wide) == 1.0
    assert recall(narrow) < 0.9
    assert wide.parameters.leaves_to_search == 24
    assert narrow.parameters.leaves_to_search == 1
    assert all(a != b for a, b in itertools.pairwise([narrow.parameters, wide.parameters]))
