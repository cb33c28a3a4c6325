import numpy as np
import pytest
from scipy import stats

from components.evaluate import bootstrap
from components.evaluate.bootstrap import bootstrap_mean, p_below


def test_agrees_with_scipy():
    values = np.random.default_rng(0).beta(2, 5, 200)
    ours = bootstrap_mean(values, resamples=20_000, confidence=0.95, seed=1)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high), abs=1.5e-3)
    assert ours.count == 200


def test_confidence_widens_the_interval():
    values = np.random.default_rng(0).normal(size=50)
    narrow = bootstrap_mean(values, resamples=2000, confidence=0.5, seed=1)
    wide = bootstrap_mean(values, resamples=2000, confidence=0.99, seed=1)
    assert wide.lower < narrow.lower < narrow.mean < narrow.upper < wide.upper


def test_one_query_or_equal_values_have_no_spread():
    for values in (np.array([0.3]), np.full(40, 0.3)):
        estimate = bootstrap_mean(values, resamples=100, confidence=0.95, seed=1)
        assert (estimate.lower, estimate.upper) == pytest.approx((0.3, 0.3))


def test_blocks_do_not_change_the_interval(monkeypatch):
    values = np.random.default_rng(0).normal(size=30)
    whole = bootstrap_mean(values, resamples=500, confidence=0.9, seed=1)
    monkeypatch.setattr(bootstrap, "_BLOCK", 100)
    assert bootstrap_mean(values, resamples=500, confidence=0.9, seed=1) == whole


def test_the_p_value_agrees_with_a_t_test():
    values = np.random.default_rng(5).normal(0.0, 1.0, 400)
    for threshold in (0.05, 0.1, 0.15):
        theirs = stats.ttest_1samp(values, threshold, alternative="less").pvalue
        ours = p_below(values, threshold, resamples=40_000, seed=1)
        assert ours == pytest.approx(theirs, rel=0.15, abs=1e-3)


def test_the_p_value_is_the_interval_read_the_other_way_round():
    values = np.random.default_rng(0).beta(2, 5, 80)
    interval = bootstrap_mean(values, resamples=4000, confidence=0.95, seed=1)
    above = p_below(values, interval.upper + 1e-3, resamples=4000, seed=1)
    below = p_below(values, interval.upper - 1e-3, resamples=4000, seed=1)
    assert above < 0.025 < below


def test_the_p_value_of_equal_values():
    same = np.full(40, 0.3)
    assert p_below(same, 0.3, resamples=99, seed=1) == 1.0
    assert p_below(same, 0.31, resamples=99, seed=1) == 0.01
