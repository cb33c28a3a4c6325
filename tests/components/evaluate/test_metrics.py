import math

import numpy as np
import pytest

from components.evaluate import metrics

RELEVANCE = np.array([[0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], bool)


def test_hit_by_hand():
    assert metrics.hit_at(RELEVANCE, 2).tolist() == [1, 0, 0]
    assert metrics.hit_at(RELEVANCE, 4).tolist() == [1, 1, 0]


def test_precision_by_hand():
    assert metrics.precision_at(RELEVANCE, 2).tolist() == [0.5, 0, 0]
    assert metrics.precision_at(RELEVANCE, 4).tolist() == [0.5, 0.25, 0]


def test_a_short_answer_is_not_rewarded():
    assert metrics.precision_at(np.array([[True]]), 10).tolist() == [0.1]


def test_dcg_by_hand():
    gains = np.array([[3.0, 2.0, 1.0]])
    expected = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert metrics.dcg_at(gains, 3)[0] == pytest.approx(expected)
    assert metrics.dcg_at(gains, 1)[0] == pytest.approx(3.0)


def test_ndcg_by_hand():
    gains = np.array([[0.0, 1.0, 0.5], [1.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    ideal = np.array([[1.0, 0.5, 0.0], [1.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    first = (1 / math.log2(3) + 0.5 / 2) / (1 + 0.5 / math.log2(3))
    values = metrics.ndcg_at(gains, ideal, 3)
    assert values[:2].tolist() == pytest.approx([first, 1.0])
    assert math.isnan(values[2])


def test_mean_cosine_by_hand():
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    assert metrics.mean_cosine(vectors) == pytest.approx((0 + 0.6 + 0.8) / 3, abs=1e-6)


def test_effective_rank_by_hand():
    # Variances 2 and 2 in two of three directions: shares 1/2 and 1/2, exp(ln 2) = 2.
    square = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], np.float64)
    assert metrics.effective_rank(square) == pytest.approx(2.0)
    # Variances 8 and 2: shares 0.8 and 0.2.
    uneven = square * np.array([2, 1, 1])
    expected = math.exp(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)))
    assert metrics.effective_rank(uneven) == pytest.approx(expected)
    line = np.array([[1, 2], [2, 4], [3, 6]], np.float64)
    assert metrics.effective_rank(line) == pytest.approx(1.0)
    assert metrics.effective_rank(np.ones((5, 3))) == 0.0


def test_repeated_by_hand():
    vectors = np.array([[1, 0], [0, 1], [0.8, 0.6], [1, 0]], np.float32)
    assert metrics.repeated(vectors, 0.999).tolist() == [False, False, False, True]
    assert metrics.repeated(vectors, 0.7).tolist() == [False, False, True, True]
    assert metrics.repeated(vectors[:0], 0.9).tolist() == []
