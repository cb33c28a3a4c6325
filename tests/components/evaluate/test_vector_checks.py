import numpy as np
import pytest

from components.contracts.catalog import Item
from components.evaluate import vector_checks as checks
from components.evaluate.config import EvaluateConfig
from components.search.retrieval import BundleIndex
from components.search.searcher import ExactSearcher


def config(**settings):
    return EvaluateConfig(**{"resamples": 500, **settings})


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_spread_vectors_pass_and_collapsed_ones_fail():
    rng = np.random.default_rng(0)
    found, figures = checks.collapse(unit(rng.standard_normal((200, 16))), config())
    assert [check.status for check in found] == ["pass", "pass"]
    assert figures["mean_cosine"] == pytest.approx(0, abs=0.05)
    assert 13 < figures["effective_rank"] <= 16

    one_point = unit(np.ones(16) + 0.05 * rng.standard_normal((200, 16)))
    found, _ = checks.collapse(one_point, config())
    assert [check.status for check in found] == ["fail", "pass"]
    assert "nearly the same vector" in found[0].reason

    line = np.outer(rng.choice([-1, 1], 200), np.ones(16))
    found, _ = checks.collapse(unit(line), config())
    assert [check.status for check in found] == ["pass", "fail"]


def test_few_vectors_say_nothing_of_collapse():
    assert checks.collapse(unit(np.ones((15, 4))), config()) == ([], {})


def test_the_incumbents_figures_stand_beside():
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((50, 8)))
    found, _ = checks.collapse(vectors, config(), incumbent=vectors)
    assert [check.incumbent for check in found] == [check.observed for check in found]
    found, _ = checks.collapse(vectors, config(), incumbent=vectors[:10])
    assert [check.incumbent for check in found] == [None, None]


def test_norms_by_hand():
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1.002]], np.float32)
    check, figures = checks.norms(vectors, config())
    assert check.status == "fail"
    assert check.observed == pytest.approx(0.002, abs=1e-6)
    assert "1 of 3 are off by more than 0.001" in check.reason
    assert figures["norm_mean"] == pytest.approx(1 + 0.002 / 3, abs=1e-6)
    assert (figures["norm_min"], figures["norm_max"]) == pytest.approx((1, 1.002), abs=1e-6)
    check, _ = checks.norms(vectors[:2], config(), incumbent=vectors)
    assert check.status == "pass"
    assert check.incumbent == pytest.approx(0.002, abs=1e-6)
    assert "-6.7e-04 since the incumbent" in check.reason


def index(vectors, contents):
    items = [
        Item(f"i{n}", f"i{n}.png", content, "leaf", f"p{n}") for n, content in enumerate(contents)
    ]
    vectors = np.asarray(vectors, np.float32)
    return BundleIndex(items, vectors, ExactSearcher(vectors))


def test_drift_is_measured_on_unchanged_images():
    before = index([[1, 0], [0, 1], [1, 0]], ["a", "b", "c"])
    # The first is as it was, the second was turned, the third shows something else now.
    after = index([[1, 0], [0.6, 0.8], [0, 1]], ["a", "b", "other"])
    check = checks.drift(after, before, config())
    assert check.status == "fail"
    assert check.observed == pytest.approx(0.2)
    assert "'i1'" in check.reason
    assert checks.drift(after, before, config(max_drift=0.21)).status == "pass"
    same = checks.drift(before, before, config())
    assert (same.status, same.observed) == ("pass", 0.0)
    assert checks.drift(index([[1, 0]], ["z"]), before, config()) is None
