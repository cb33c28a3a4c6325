import numpy as np
import pytest
from scipy import stats

from components.evaluate import bootstrap
from components.evaluate.bootstrap import bootstrap_mean


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
