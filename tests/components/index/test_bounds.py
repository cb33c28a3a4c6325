import numpy as np
import pytest

from components.index.bounds import mean_lower_bound


def test_all_ones_by_hand():
    # Stakes stay at 0.9, so the capital is (1 + 0.9 (1 - m))^n: the bound solves that for 20.
    expected = 1 - (20 ** (1 / 50) - 1) / 0.9
    assert mean_lower_bound(np.ones(50)) == pytest.approx(expected, abs=1e-9)


def test_the_bound_is_below_the_mean_and_tightens():
    rng = np.random.default_rng(0)
    bounds = [mean_lower_bound(rng.binomial(10, 0.97, n) / 10) for n in (30, 300, 3000)]
    assert bounds[0] < bounds[1] < bounds[2] < 0.97
    assert bounds[2] > 0.965


def test_nothing_known_promises_nothing():
    assert mean_lower_bound(np.empty(0)) == 0.0
    assert mean_lower_bound(np.full(3, np.nan)) == 0.0
    assert mean_lower_bound(np.zeros(50)) == 0.0


def test_queries_without_an_answer_are_left_out():
    values = np.array([1.0, 0.9] * 100)
    with_gaps = np.insert(values, 7, np.nan)
    assert mean_lower_bound(with_gaps) == mean_lower_bound(values)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.binomial(10, 0.98, 200) / 10,
        lambda rng: rng.binomial(1, 0.98, 200).astype(float),
        lambda rng: rng.binomial(1, 0.5, 200).astype(float),
        # Rare and bad: what a bound that trusts the observed spread is misled by.
        lambda rng: np.where(rng.random(200) < 0.02, 0.0, 1.0),
    ],
    ids=["recall", "coin", "even", "rare"],
)
def test_it_is_too_high_in_at_most_one_of_twenty(draw):
    rng = np.random.default_rng(1)
    mean = float(np.mean([draw(rng).mean() for _ in range(2000)]))
    missed = sum(mean_lower_bound(draw(rng)) > mean + 1e-3 for _ in range(400))
    # 20 expected at most; 35 would be 3.4 standard deviations more.
    assert missed < 35


def test_more_confidence_is_a_lower_bound():
    values = np.random.default_rng(2).binomial(10, 0.98, 500) / 10
    assert mean_lower_bound(values, confidence=0.99) < mean_lower_bound(values, confidence=0.95)


def test_it_beats_wilson_on_recalls():
    # Wilson's 95% bound of 0.98 from 1000 coin flips is 0.9713.
    values = np.random.default_rng(3).binomial(10, 0.98, 1000) / 10
    assert mean_lower_bound(values) > 0.9735
