import os

import pytest

from components.contracts.processors import available_processors


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("800000 100000", 4), ("?", 4)],
)
def test_a_containers_quota_counts_and_so_does_taskset(tmp_path, monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5})
    (tmp_path / "cpu.max").write_text(quota)
    assert available_processors(tmp_path / "cpu.max") == expected


def test_without_control_groups_the_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert available_processors(tmp_path / "cpu.max") == 1
