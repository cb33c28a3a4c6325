"""Checkpoints: whole or absent, and never waited for without need."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from components.contracts.errors import InputError
from components.train.checkpoints import Checkpoints


def arrays(value):
    return {"a/kernel": np.full((2, 3), value, np.float32), "optimizer/0": np.array(value)}


def test_the_newest_comes_back_with_its_curves(tmp_path):
    checkpoints = Checkpoints(tmp_path / "kept", keep=2)
    assert checkpoints.latest() is None
    for step in (5, 10, 15):
        checkpoints.save(step, arrays(step), [{"epoch": step // 5, "loss": 0.25}])
    checkpoints.wait()
    found = Checkpoints(tmp_path / "kept", keep=2).latest()
    assert found.step == 15
    assert found.history == [{"epoch": 3, "loss": 0.25}]
    assert found.arrays.keys() == {"a/kernel", "optimizer/0"}
    np.testing.assert_array_equal(found.arrays["a/kernel"], np.full((2, 3), 15, np.float32))
    names = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert names == ["checkpoint-000000010.npz", "checkpoint-000000015.npz"]


def test_saving_returns_before_the_file_is_there(tmp_path, monkeypatch):
    go_on = threading.Event()
    savez = np.savez

    def slow(*arguments, **named):
        assert go_on.wait(10)
        savez(*arguments, **named)

    monkeypatch.setattr(np, "savez", slow)
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, arrays(1), [])
    assert checkpoints.latest() is None
    go_on.set()
    checkpoints.wait()
    assert checkpoints.latest().step == 1


def test_a_disk_that_is_full_is_told_by_the_next_call(tmp_path, monkeypatch):
    def full(*_arguments, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, arrays(1), [])
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(2, arrays(2), [])
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_one_is_named(tmp_path):
    (tmp_path / "checkpoint-000000007.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"checkpoint-000000007.npz: expected a checkpoint"):
        Checkpoints(tmp_path, keep=1).latest()


@pytest.mark.multiprocess
def test_a_kill_while_writing_leaves_the_one_before(tmp_path):
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from components.train.checkpoints import Checkpoints\n"
        "kept = Checkpoints(Path(sys.argv[1]), keep=2)\n"
        "for step in range(1, 10_000):\n"
        "    kept.save(step, {'x': np.full(500_000, step)}, [{'epoch': step}])\n"
        "    print(step, flush=True)\n"
    )
    for number in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3 + number):
            child.stdout.readline()
        time.sleep(0.003 * number)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        found = Checkpoints(tmp_path, keep=2).latest()
        assert found.history == [{"epoch": found.step}]
        assert (found.arrays["x"] == found.step).all()
