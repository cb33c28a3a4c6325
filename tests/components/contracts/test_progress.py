import json
import multiprocessing
import pickle
import threading

import pytest

from components.contracts import progress as module
from components.contracts.progress import ENVIRONMENT_VARIABLE, Progress, Tally


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def state(path):
    return json.loads(path.read_text())


def test_the_file_tells_how_far_a_step_is(tmp_path, monkeypatch, clock):
    path = tmp_path / "progress.json"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(path))
    with Progress("embed", total=10, unit="images") as progress:
        assert state(path)["done"] == 0
        clock.now += 2
        progress.advance(4, rejects=1, note="shard 1")
        assert state(path) == {
            "phase": "embed",
            "done": 4,
            "total": 10,
            "unit": "images",
            "rate": 2.0,
            "rejects": 1,
            "note": "shard 1",
        }
        # Not for every item: a step must not spend its time on telling about itself.
        progress.advance()
        assert state(path)["done"] == 4
    assert state(path)["done"] == 5


def test_the_file_holds_the_last_state_when_a_step_fails(tmp_path, monkeypatch, clock):
    path = tmp_path / "progress.json"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(path))

    def fail_after_three():
        with Progress("embed") as progress:
            progress.advance(3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_three()
    assert state(path)["done"] == 3
    assert state(path)["total"] is None


def test_log_lines_come_every_few_seconds_with_the_time_left(monkeypatch, clock, capsys):
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    with Progress("embed", total=100, unit="images") as progress:
        capsys.readouterr()
        for _ in range(40):
            clock.now += 0.5
            progress.advance()
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 4
        assert lines[-1] == "embed: 40/100 images, 2.0/s, 30 s left"
        progress.advance(60, rejects=2, note="done soon")
    assert capsys.readouterr().err == "embed: 100/100 images, 5.0/s, 2 rejects, done soon\n"


def tell(tally, times):
    for _ in range(times):
        tally.add(3, rejects=1)


def test_other_processes_and_threads_tell_what_they_have_done(tmp_path):
    tally = Tally(str(tmp_path / "tally"))
    assert tally.read() == (0, 0)
    workers = [
        multiprocessing.get_context("spawn").Process(target=tell, args=(tally, 50))
        for _ in range(2)
    ]
    workers += [threading.Thread(target=tell, args=(tally, 50)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert tally.read() == (600, 200)
    assert len(list((tmp_path / "tally").iterdir())) == 3
    assert pickle.loads(pickle.dumps(tally)).read() == (600, 200)


def test_a_line_that_is_being_written_and_a_folder_that_is_full_are_borne(tmp_path):
    tally = Tally(str(tmp_path / "tally"))
    tally.add(5)
    (path,) = (tmp_path / "tally").iterdir()
    path.write_bytes(b"5 0\n12 1\nno number\n77")
    assert tally.read() == (17, 1)
    (tmp_path / "file").touch()
    nowhere = Tally(str(tmp_path / "file/tally"))
    nowhere.add(1)
    assert nowhere.read() == (0, 0)


def test_progress_follows_what_workers_tell_while_they_work(tmp_path, monkeypatch):
    path = tmp_path / "progress.json"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(path))
    monkeypatch.setattr(module, "_TALLY_INTERVAL", 0.01)
    monkeypatch.setattr(module, "_FILE_INTERVAL", 0.0)
    tally = Tally(str(tmp_path / "tally"))
    seen = threading.Event()
    advance = Progress.advance

    def told(self, count=1, **more):
        advance(self, count, **more)
        if self.done == 4:
            seen.set()

    monkeypatch.setattr(Progress, "advance", told)
    with Progress("transform", total=10, unit="images") as progress, progress.following(tally):
        tally.add(4, rejects=1)
        # The worker has not ended, and the step's own thread does nothing.
        assert seen.wait(60)
        assert (state(path)["done"], state(path)["rejects"]) == (4, 1)
        # An engine that repeats a bundle tells of it twice.
        tally.add(9)
    assert (progress.done, progress.rejects) == (10, 1)
    assert state(path)["done"] == 10


def test_a_failure_ends_the_following(tmp_path):
    progress = Progress("embed")
    with pytest.raises(RuntimeError), progress.following(Tally(str(tmp_path))):
        raise RuntimeError
    assert not [one for one in threading.enumerate() if one.name.startswith("progress of")]
