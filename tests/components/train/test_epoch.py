import time

import numpy as np
import pytest

from components.train.epoch import Epoch
from components.train.optimizer_step import StepResult


def result(loss, right, known, seconds=0.5):
    sums = np.array([loss, right, known], np.float32)
    return StepResult(sums, broken_here=False, broken=False, stop=False, exchange_seconds=seconds)


def shares(counts):
    return {"leaf": float(counts[0] / counts[1])}


def test_a_record_is_made_of_the_sums_of_all_workers(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    epoch = Epoch.begin(heads=1)
    epoch.add(result(8.0, 1, 4), waited=0.25)
    epoch.add(result(4.0, 2, 4), waited=0.75)
    now = 108.0
    record = epoch.record(
        2 * epoch.sums, number=3, batch_size=8, learning_rate=0.1, input_size=64, shares=shares
    )
    assert record == {
        "epoch": 3, "loss": 24 / 16, "learning_rate": 0.1, "input_size": 64,
        "images_per_second": 2.0, "steps_per_second": 0.25, "input_stall_share": 1 / 8,
        "scaling_efficiency": 7 / 8, "train": {"leaf": 6 / 16},
    }  # fmt: skip


@pytest.mark.parametrize(("first", "sums"), [(True, [20.0, 3.0, 16.0]), (False, [0.0, 0.0, 0.0])])
def test_the_first_worker_goes_on_with_the_sums_of_all(first, sums):
    epoch = Epoch.begin(heads=1)
    epoch.add(result(8.0, 1, 4), waited=0.25)
    saved = epoch.saved(np.array([20.0, 3.0, 16.0]))
    later = Epoch.resumed(saved, first=first)
    assert later.sums.tolist() == sums
    assert (later.steps, later.waiting, later.exchanging) == (1, 0.25, 0.5)
    assert later.seconds >= epoch.seconds - 0.1
