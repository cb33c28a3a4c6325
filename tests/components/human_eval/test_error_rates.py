"""The quick rows of the benchmark: a right gate holds its error rate, a wrong one would show here.

Sizes are small and seeds fixed; `tests/benchmarks/bench_human_eval.py` gives the figures.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from components.human_eval.eprocess import log_e_path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "bench_human_eval.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_human_eval", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def test_at_the_bar_few_pass_and_a_wilson_interval_passes_most(bench, rng):
    rate = np.isfinite(bench.stops(rng, 300, 0.8, 800)).mean()
    # 300 campaigns at a true rate of at most .05: three standard errors are .038.
    assert rate <= 0.088
    assert bench.wilson_passes(rng, 60, 800) >= 0.4


def test_a_census_in_random_order_holds_the_error_rate_too(bench, rng):
    assert bench.census_passes(rng, 300, 334, 0.3) <= 0.088


def test_a_good_candidate_passes_and_a_bad_one_fails(bench, rng):
    good = bench.stops(rng, 100, 0.88, 600)
    assert np.isfinite(good).mean() >= 0.97
    assert good[np.isfinite(good)].mean() <= 110
    assert np.isfinite(bench.stops(rng, 60, 0.75, 1000, mirrored=True)).mean() >= 0.95
    assert np.isfinite(bench.stops(rng, 60, 0.75, 1000)).mean() <= 0.05


def test_non_inferiority_at_the_margin_and_without_a_difference(bench, rng):
    worse = [bench.first(log_e_path(bench.differences(rng, 400, 0.25, 0.05), 0.4))
             for _ in range(200)]  # fmt: skip
    equal = [bench.first(log_e_path(bench.differences(rng, 400, 0.1, 0.1), 0.4))
             for _ in range(60)]  # fmt: skip
    assert np.isfinite(worse).mean() <= 0.096
    assert np.isfinite(equal).mean() >= 0.95
    assert 2 * np.mean(equal) <= 120


def test_counting_in_the_order_of_completion_would_pass_what_the_prefix_does_not(bench, rng):
    prefix, order = bench.completion(rng, 80, n=500)
    assert prefix <= 0.125
    assert order >= 0.3


def test_raters_who_know_the_golds_or_call_everything_similar(bench, rng):
    majority, soft, standing = bench.panel_with(rng, 3, know_golds=False)
    assert majority >= 0.015
    assert abs(soft) <= 0.02
    assert standing == ["banned_golds"] * 3
    assert bench.panel_with(rng, 3, know_golds=True)[2] == ["banned_peers"] * 3
