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
from components.train.checkpoints import Checkpoints, DamagedError, read_arrays


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


def kept(directory, *steps, keep=2):
    checkpoints = Checkpoints(directory, keep=keep)
    for step in steps:
        checkpoints.save(step, arrays(step), [{"epoch": step}])
    checkpoints.wait()
    return [directory / f"checkpoint-{step:09d}.npz" for step in steps]


def truncated(data):
    return data[: len(data) // 2]


def flipped(data):
    """One bit of the numbers of an array is another one."""
    place = data.index(np.float32(15).tobytes())
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def cut_short(data):
    """An array's header says float16, so that half of its numbers are not looked at."""
    return data.replace(b"'descr': '<f4'", b"'descr': '<f2'")


DAMAGES = [truncated, flipped, cut_short, lambda data: b"PK", lambda data: b""]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_told_and_the_one_before_is_taken(tmp_path, capsys, damage):
    _, newest = kept(tmp_path, 10, 15)
    newest.write_bytes(damage(newest.read_bytes()))
    found = Checkpoints(tmp_path, keep=2).latest()
    assert (found.step, found.history) == (10, [{"epoch": 10}])
    np.testing.assert_array_equal(found.arrays["a/kernel"], np.full((2, 3), 10, np.float32))
    said = capsys.readouterr().err
    assert said.startswith(f"train: {newest}: expected a checkpoint, received a damaged file (")
    assert said.endswith("going on from the one before, of step 10\n")


@pytest.mark.parametrize("damage", DAMAGES)
def test_where_none_is_whole_the_run_is_refused(tmp_path, damage):
    paths = kept(tmp_path, 10, 15)
    for path in paths:
        path.write_bytes(damage(path.read_bytes()) if path is paths[1] else b"PK")
    with pytest.raises(
        InputError, match=r"checkpoint-000000015.npz: expected a checkpoint.*none"
    ) as error:
        Checkpoints(tmp_path, keep=2).latest()
    assert "none of the 2 in" in str(error.value)
    assert "remove them to train from the beginning" in str(error.value)


def test_one_that_cannot_be_read_is_not_passed_over(tmp_path):
    _, newest = kept(tmp_path, 10, 15)
    newest.unlink()
    newest.mkdir()
    # Another worker of the group may have read it, and all have to go on from the same step.
    with pytest.raises(InputError, match=r"000000015.npz: expected a checkpoint that can be read"):
        Checkpoints(tmp_path, keep=2).latest()


def test_a_damaged_one_takes_the_place_of_no_whole_one(tmp_path):
    _, newest = kept(tmp_path, 10, 17)
    newest.write_bytes(b"PK")
    kept(tmp_path, 15, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000000015.npz"]
    assert Checkpoints(tmp_path, keep=1).latest().step == 15


def test_no_damage_comes_through(tmp_path):
    """All over a small file: what is read is what was written, or nothing is."""
    np.savez(tmp_path / "whole.npz", **{"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3)})
    whole, data = read_arrays(tmp_path / "whole.npz"), (tmp_path / "whole.npz").read_bytes()
    damaged = 0
    cases = [data[:size] for size in range(0, len(data), 5)]
    for place, byte in enumerate(data):
        cases += [data[:place] + bytes([byte ^ 1 << bit]) + data[place + 1 :] for bit in (0, 5)]
    for case in cases:
        (tmp_path / "other.npz").write_bytes(case)
        try:
            found = read_arrays(tmp_path / "other.npz")
        except DamagedError:
            damaged += 1
            continue
        assert found.keys() == whole.keys()
        for name, array in found.items():
            assert array.dtype == whole[name].dtype
            np.testing.assert_array_equal(array, whole[name])
    assert damaged > len(cases) / 2


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
