import numpy as np
import pytest

from components.contracts.catalog import Item
from components.evaluate import answer_checks as checks
from components.evaluate.config import EvaluateConfig
from components.search.retrieval import BundleIndex, Hits
from components.search.searcher import ExactSearcher


def config(**settings):
    return EvaluateConfig(**{"resamples": 500, **settings})


def test_coverage_by_hand():
    assert checks.coverage(95, 100, config()).status == "pass"
    failed = checks.coverage(94, 100, config())
    assert failed.status == "fail"
    assert "94 of 100" in failed.reason
    assert checks.coverage(0, 0, config()).status == "fail"


def test_index_recall():
    assert checks.index_recall(np.ones(50), config()).status == "pass"
    failed = checks.index_recall(np.full(50, 0.97), config())
    assert failed.status == "fail"
    assert "0.9700" in failed.reason
    assert checks.index_recall(np.empty(0), config()).status == "fail"


def test_repeats_by_hand():
    vectors = np.array([[1, 0], [0, 1], [1, 0], [0.6, 0.8]], np.float32)
    contents = ["a", "b", "c", "b"]
    items = [Item(f"i{n}", "x", contents[n], "leaf", f"p{n}") for n in range(4)]
    index = BundleIndex(items, vectors, ExactSearcher(vectors))

    def hits(*positions):
        names = [str(position) for position in positions]
        return Hits(names, names, [1.0] * len(names), list(positions))

    shares = checks.repeats(index, [hits(0, 1, 2, 3), hits(3, 0), hits(), hits(0, 2)], 0.999)
    # In the first, item 2 has the vector of item 0, and item 3 the image of item 1.
    assert shares[[0, 1, 3]].tolist() == [0.5, 0.0, 0.5]
    assert np.isnan(shares[2])


def test_near_duplicates_have_a_limit():
    shares = np.array([0.0, 0.4, np.nan])
    kept = checks.near_duplicates("items", shares, config(max_near_duplicates=0.2))
    assert (kept.status, kept.observed, kept.incumbent) == ("pass", pytest.approx(0.2), None)
    failed = checks.near_duplicates(
        "items", shares, config(max_near_duplicates=0.1), incumbent=np.array([0.1, np.nan])
    )
    assert (failed.status, failed.incumbent) == ("fail", pytest.approx(0.1))
    assert checks.near_duplicates("items", np.array([np.nan]), config()) is None


def test_churn_is_held_to_the_limit_of_its_kind():
    overlaps = np.tile([0.2, 0.6], 20)
    limits = config(min_overlap=0.3, min_overlap_same_encoder=0.5)
    other = checks.churn("items", overlaps, limits, same_encoder=False)
    same = checks.churn("items", overlaps, limits, same_encoder=True)
    assert (other.status, same.status) == ("pass", "fail")
    assert other.observed == same.observed == pytest.approx(0.4)
    assert other.lower < 0.4 < other.upper
    assert "40.0% of the incumbent's first 10" in same.reason
    assert checks.churn("items", np.empty(0), limits, same_encoder=True) is None
