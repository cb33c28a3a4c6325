"""Small runs of tests/benchmarks/registry_stress.py; the full ones are a benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_PROGRAM = Path(__file__).parents[2] / "benchmarks" / "registry_stress.py"
_STORES = ["local", pytest.param("gcs", marks=pytest.mark.gcs)]


def _stress(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(_PROGRAM), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.multiprocess
@pytest.mark.parametrize("store", _STORES)
def test_processes_on_one_channel_lose_and_double_nothing(store: str) -> None:
    result = _stress("contend", "--store", store, "--processes", "4", "--seconds", "4")
    assert result["problems"] == []
    assert result["history"] >= 1


@pytest.mark.multiprocess
@pytest.mark.parametrize("store", _STORES)
def test_a_kill_at_any_moment_leaves_only_whole_things(store: str) -> None:
    result = _stress("kill", "--store", store, "--kills", "4")
    assert result["problems"] == []
