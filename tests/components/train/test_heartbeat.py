"""Who holds a group up; a clock of our own."""

import json
import subprocess
import sys
import time

import pytest

from components.train import heartbeat as heartbeats
from components.train.heartbeat import Heartbeat, Watch


class Group:
    def __init__(self, directory, workers):
        self.directory = directory
        self.watch = Watch(directory, workers, now=0.0)
        self.beats = 0

    def said(self, worker, step, phase, calls=0):
        self.beats += 1
        values = {"beats": self.beats, "step": step, "phase": phase, "calls": calls}
        (self.directory / f"worker-{worker}.json").write_text(json.dumps(values))

    def stalled(self, now):
        return self.watch.stalled(now, limit=60.0)


def test_a_group_that_makes_steps_is_left_alone(tmp_path):
    group = Group(tmp_path, 2)
    for second in range(0, 300, 20):
        group.said(0, second, "computing")
        group.said(1, second, "computing")
        assert group.stalled(float(second)) == ""


def test_a_process_that_is_silent_while_another_beats_is_named_within_30_seconds(tmp_path):
    group = Group(tmp_path, 2)
    group.said(0, 7, "computing")
    group.said(1, 7, "computing")
    assert group.stalled(0.0) == ""
    for second in range(1, 30):
        group.said(0, 7, "computing")
        words = group.stalled(float(second))
        assert bool(words) == (second >= 20)
    assert words.startswith("worker 1 is silent for 29 s (last: step 7, computing); its process")


def test_a_process_that_has_not_begun_to_beat_has_until_the_limit(tmp_path):
    group = Group(tmp_path, 2)
    for second in range(62):
        group.said(0, 0, "computing")
        words = group.stalled(float(second))
        assert bool(words) == (second >= 60)
    assert words == "worker 1 did not come so far as to train within 60 s"


def test_a_disk_that_hangs_for_a_while_is_nobodys_fault(tmp_path):
    group = Group(tmp_path, 3)
    for worker in range(3):
        group.said(worker, 7, "computing")
    assert group.stalled(0.0) == ""
    assert group.stalled(50.0) == ""
    # They come back one after the other.
    group.said(0, 9, "computing")
    assert group.stalled(50.2) == ""
    group.said(1, 9, "computing")
    assert group.stalled(50.4) == ""
    group.said(2, 9, "computing")
    assert group.stalled(109.0) == ""


def test_a_group_of_which_nobody_gives_a_sign_asks_for_the_disk(tmp_path):
    group = Group(tmp_path, 2)
    for worker in range(2):
        group.said(worker, 7, "computing")
    assert group.stalled(0.0) == ""
    words = group.stalled(61.0)
    assert words.startswith("worker 0 is silent for 61 s")
    assert words.endswith(f"no worker gives a sign of life: is the disk of {tmp_path} full?")


def test_a_long_evaluation_is_no_stall_of_the_group(tmp_path):
    group = Group(tmp_path, 3)
    for second in range(301):
        group.said(0, 7, "evaluating", calls=second)
        group.said(1, 7, "computing")
        # The third has done its last step: Python has ended the thread that beats.
        if second == 0:
            group.said(2, 7, "ending")
        assert group.stalled(float(second)) == ""


def test_an_evaluation_that_does_not_go_on_is_named(tmp_path):
    group = Group(tmp_path, 3)
    for second in range(162):
        group.said(0, 7, "evaluating", calls=min(second, 100))
        group.said(1, 7, "computing")
        group.said(2, 7, "ending")
        words = group.stalled(float(second))
        assert bool(words) == (second >= 160)
    assert words == "worker 0 made no step for 61 s: evaluating at step 7"


def test_a_process_that_has_ended_is_not_silent(tmp_path):
    group = Group(tmp_path, 2)
    for second in range(301):
        group.said(0, 7, "evaluating", calls=second)
        if second == 0:
            group.said(1, 7, "computing")
        if second == 5:
            group.watch.ended(1, 5.0)
        assert group.stalled(float(second)) == ""


def test_after_a_loss_the_one_that_is_silent_longest_is_named(tmp_path):
    group = Group(tmp_path, 4)
    for worker, since in ((0, 0), (1, 2), (2, 9)):
        group.said(worker, 7, "computing")
        group.watch.silent(float(since), range(3))
    # The fourth has not said anything yet: it may still wait for the others to join.
    assert group.watch.silent(4.0, range(3)) == ""
    assert group.watch.silent(9.0, range(3)).startswith("worker 0 is silent for 9 s")
    group.said(0, 7, "computing")
    assert group.watch.silent(9.0, range(3)).startswith("worker 1 is silent for 7 s")
    group.said(0, 7, "computing")
    group.said(1, 7, "ending")
    group.watch.silent(50.0, range(3))
    assert group.watch.silent(100.0, range(3)).startswith("worker 2 is silent for 91 s")


def test_a_worker_that_waits_for_its_data_is_named(tmp_path):
    group = Group(tmp_path, 3)
    for second in range(0, 61, 5):
        for worker, phase in enumerate(("computing", "computing", "reading")):
            group.said(worker, 4, phase)
        words = group.stalled(float(second))
    assert words == "worker 2 made no step for 60 s: reading at step 4"


def test_a_group_that_waits_for_itself_says_so(tmp_path):
    group = Group(tmp_path, 2)
    for second in range(0, 61, 5):
        group.said(0, 4, "computing")
        group.said(1, 4, "computing")
        words = group.stalled(float(second))
    assert words.startswith("all workers made no step for 60 s: computing at step 4")


def beat(directory, worker, enough, seconds=10):
    """What a worker says when that is `enough`, or after some seconds."""
    deadline = time.monotonic() + seconds
    said = {}
    while time.monotonic() < deadline and not (said and enough(said)):
        time.sleep(0.05)
        path = directory / f"worker-{worker}.json"
        said = json.loads(path.read_text()) if path.is_file() else {}
    return said


def test_a_worker_beats_by_itself(tmp_path):
    heartbeat = Heartbeat(tmp_path, 3)
    heartbeat.at(12, "reading")
    said = beat(tmp_path, 3, lambda said: said["beats"] >= 2)
    assert (said["step"], said["phase"]) == (12, "reading")
    heartbeat.end()
    # A group that starts again forgets what was said before.
    Watch(tmp_path, 4, now=0.0)
    assert not (tmp_path / "worker-3.json").exists()


def test_saying_the_same_again_is_progress(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeats, "_BEAT_SECONDS", 0.05)
    heartbeat = Heartbeat(tmp_path, 0)
    watch = Watch(tmp_path, 1, now=0.0)

    def heard_again():
        before = beat(tmp_path, 0, lambda said: True)["beats"]
        beat(tmp_path, 0, lambda said: said["beats"] > before + 1)

    for second in range(0, 200, 50):
        heartbeat.at(7, "evaluating")
        heard_again()
        assert watch.stalled(float(second), limit=60.0) == ""
    heard_again()
    assert (
        watch.stalled(211.0, limit=60.0) == "worker 0 made no step for 61 s: evaluating at step 7"
    )
    heartbeat.end()


def test_a_worker_goes_on_beating_after_its_disk_failed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(heartbeats, "_BEAT_SECONDS", 0.05)
    directory = tmp_path / "beats"
    # Neither a directory can be made here nor a file written.
    directory.touch()
    heartbeat = Heartbeat(directory, 0)
    heartbeat.at(5, "computing")
    time.sleep(0.2)
    directory.unlink()
    assert beat(directory, 0, lambda said: said["step"] == 5)["step"] == 5
    (directory / "worker-0.json").unlink()
    directory.rmdir()
    directory.touch()
    time.sleep(0.2)
    heartbeat.at(6, "computing")
    directory.unlink()
    assert beat(directory, 0, lambda said: said["step"] == 6)["step"] == 6
    heartbeat.end()
    said = capsys.readouterr().err.splitlines()
    # Once each time, not once a second.
    assert len(said) == 2
    assert all("train: the sign of life cannot be written" in line for line in said)


@pytest.mark.multiprocess
def test_a_process_that_ends_says_so_itself(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from components.train.heartbeat import Heartbeat\n"
        "Heartbeat(Path(sys.argv[1]), 2).at(9, 'computing')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    said = json.loads((tmp_path / "worker-2.json").read_text())
    assert (said["step"], said["phase"]) == (9, "ending")
