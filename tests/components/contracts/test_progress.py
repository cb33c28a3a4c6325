import json

import pytest

from components.contracts import progress as module
from components.contracts.progress import ENVIRONMENT_VARIABLE, Progress


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
