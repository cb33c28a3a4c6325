"""Who holds a group up; a clock of our own."""

import json
import time

from components.train.heartbeat import Heartbeat, Watch


class Group:
    def __init__(self, directory, workers):
        self.directory = directory
        self.watch = Watch(directory, workers, now=0.0)
        self.beats = 0

    def said(self, worker, step, phase):
        self.beats += 1
        values = {"beats": self.beats, "step": step, "phase": phase}
        (self.directory / f"worker-{worker}.json").write_text(json.dumps(values))

    def stalled(self, now):
        return self.watch.stalled(now, limit=60.0)


def test_a_group_that_makes_steps_is_left_alone(tmp_path):
    group = Group(tmp_path, 2)
    for second in range(0, 300, 20):
        group.said(0, second, "computing")
        group.said(1, second, "computing")
        assert group.stalled(float(second)) == ""


def test_a_stopped_process_is_named(tmp_path):
    group = Group(tmp_path, 2)
    group.said(0, 7, "computing")
    group.said(1, 7, "computing")
    assert group.stalled(0.0) == ""
    for second in range(1, 70):
        group.said(0, 7, "computing")
        words = group.stalled(float(second))
    assert words.startswith("worker 1 is silent for 69 s (last: step 7, computing)")


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


def test_a_worker_beats_by_itself(tmp_path):
    heartbeat = Heartbeat(tmp_path, 3)
    heartbeat.at(12, "reading")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        said = json.loads((tmp_path / "worker-3.json").read_text())
        if said["beats"] >= 2:
            break
        time.sleep(0.05)
    assert (said["step"], said["phase"]) == (12, "reading")
    # A group that starts again forgets what was said before.
    Watch(tmp_path, 4, now=0.0)
    assert not (tmp_path / "worker-3.json").exists()
