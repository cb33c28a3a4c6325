"""Groups of real processes that play training: they beat, wait, and end as each test tells them."""

import json
import re
import socket
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from components.contracts.errors import InputError
from components.train import local_group
from components.train.config import TrainConfig
from components.train.group_errors import WorkerError
from components.train.local_group import run_workers

# What the spec file says for a worker is what it does, see `Play`.
PLAYER = """
import ctypes, json, os, signal, socket, sys, time
from pathlib import Path
import numpy as np
from components.train.heartbeat import Heartbeat
from components.train.shared_memory import MEMORY_VARIABLE, SharedSums

spec = Path(sys.argv[2])
group = json.loads(os.environ["TF_CONFIG"])
number = group["task"]["index"]
attempt = len(list(spec.parent.glob(f"started-{number}-*")))
(spec.parent / f"started-{number}-{attempt}").write_text(json.dumps(
    {"addresses": group["cluster"]["worker"], "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}
))
heartbeat = None
acts = json.loads(spec.read_text())[number]
for verb, *rest in acts[min(attempt, len(acts) - 1)]:
    if verb == "at":
        heartbeat = heartbeat or Heartbeat(spec.parent / "beats", number)
        heartbeat.at(*rest)
    elif verb == "sleep":
        time.sleep(*rest)
    elif verb == "evaluate":
        for _ in range(int(10 * rest[0])):
            heartbeat.at(7, "evaluating")
            time.sleep(0.1)
    elif verb == "listen":
        host, port = group["cluster"]["worker"][number].split(":")
        try:
            socket.socket().bind((host, int(port)))
        except OSError as error:
            print(f"cannot listen at {host}:{port}: {error}", file=sys.stderr)
            sys.exit(75)
    elif verb == "add":
        workers = len(group["cluster"]["worker"])
        sums = SharedSums(
            int(os.environ[MEMORY_VARIABLE]), worker=number, workers=workers, shapes=[(2,)]
        )
        found = [sums(np.full(2, value, np.float32))[0].tolist() for value in rest]
        (spec.parent / f"sums-{number}-{attempt}").write_text(json.dumps(found))
    elif verb == "hang":
        # Holds the lock of the interpreter: no thread of this process goes on.
        ctypes.PyDLL(None).sleep(60)
    elif verb == "signal":
        os.kill(os.getpid(), rest[0])
    elif verb == "exit":
        sys.exit(rest[0])
"""
SIGKILL, SIGSTOP, TRY_AGAIN = 9, 19, 75
TRAINING = ["at", 7, "computing"]


class Play:
    """A group whose workers do what they are told."""

    def __init__(self, directory, monkeypatch):
        self.directory = directory
        monkeypatch.setattr(local_group, "WORKER_PROGRAM", (sys.executable, "-c", PLAYER))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def run(self, *workers, restarts=0, stall_seconds=60.0):
        """Each of `workers` lists what it does; or one list for each time that it is started."""
        acts = [acts if isinstance(acts[0][0], list) else [acts] for acts in workers]
        spec = self.directory / "spec.json"
        spec.write_text(json.dumps(acts))
        config = SimpleNamespace(
            workers=len(workers),
            restarts=restarts,
            stall_seconds=stall_seconds,
            check_devices=lambda _: None,
        )
        run_workers(spec, config=config, heartbeats=self.directory / "beats")

    def started(self, worker, attempt=0):
        """What a worker found around it when it was started."""
        return json.loads((self.directory / f"started-{worker}-{attempt}").read_text())


@pytest.fixture
def play(tmp_path, monkeypatch):
    return Play(tmp_path, monkeypatch)


# The one that lost its peer ends as TensorFlow lets it end, some seconds after.
LOST_ITS_PEER = [TRAINING, ["sleep", 3], ["exit", TRY_AGAIN]]


@pytest.mark.multiprocess
@pytest.mark.parametrize("stopped", [0, 1])
def test_a_stopped_worker_is_named_and_not_the_one_that_lost_it(play, stopped):
    workers = [LOST_ITS_PEER, LOST_ITS_PEER]
    workers[stopped] = [TRAINING, ["sleep", 1.5], ["signal", SIGSTOP]]
    begun = time.monotonic()
    with pytest.raises(WorkerError) as error:
        play.run(*workers)
    assert time.monotonic() - begun < 30
    assert re.match(
        rf"train: worker {stopped} \(process \d+; last: step 7, computing\) is stopped",
        str(error.value),
    )
    assert f"worker {1 - stopped}" not in str(error.value)


@pytest.mark.multiprocess
def test_a_hung_worker_is_named_and_not_the_one_that_lost_it(play):
    begun = time.monotonic()
    with pytest.raises(WorkerError, match=r"^train: worker 1 is silent for \d+ s \(last: step 7"):
        play.run(LOST_ITS_PEER, [TRAINING, ["sleep", 1.5], ["hang"]])
    assert time.monotonic() - begun < 30


@pytest.mark.multiprocess
def test_a_stopped_worker_is_named_where_nobody_loses_it(play, monkeypatch):
    monkeypatch.setattr(local_group, "_STOPPED_SECONDS", 1.0)
    with pytest.raises(WorkerError, match=r"worker 0 .* is stopped, as by SIGSTOP"):
        play.run([["signal", SIGSTOP]], stall_seconds=600.0)


@pytest.mark.multiprocess
@pytest.mark.parametrize(
    ("end", "words"),
    [
        (["exit", 3], "worker 1 ended with code 3"),
        (["signal", SIGKILL], "worker 1 was killed by SIGKILL"),
    ],
)
def test_a_worker_that_fails_by_itself_is_named_and_not_the_one_that_lost_it(play, end, words):
    with pytest.raises(WorkerError, match=words):
        play.run([TRAINING, ["exit", TRY_AGAIN]], [TRAINING, ["sleep", 1], end])


@pytest.mark.multiprocess
def test_workers_that_only_lost_each_other_are_told_as_such(play):
    with pytest.raises(WorkerError, match=r"worker 0 ended with code 75 \(try again\)"):
        play.run([TRAINING, ["exit", TRY_AGAIN]], [TRAINING, ["sleep", 1], ["exit", TRY_AGAIN]])


@pytest.mark.multiprocess
def test_a_group_that_lost_a_stopped_worker_is_started_again(play, capsys):
    stops, works = [TRAINING, ["signal", SIGSTOP]], [TRAINING, ["exit", 0]]
    play.run([LOST_ITS_PEER, works], [stops, works], restarts=1)
    said = capsys.readouterr().err
    assert re.search(r"train: worker 1 .* is stopped", said)
    assert "train: starting the group again (1 of 1), from the last checkpoint" in said


@pytest.mark.multiprocess
def test_a_port_that_is_taken_meanwhile_costs_a_restart_on_other_ports(play, monkeypatch, capsys):
    free_ports = local_group.free_ports
    tries = []
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        taken = somebody.getsockname()[1]

        @contextmanager
        def one_is_taken(count):
            with free_ports(count) as ports:
                tries.append(ports)
                yield [*ports[1:], taken] if len(tries) == 1 else ports

        monkeypatch.setattr(local_group, "free_ports", one_is_taken)
        # The first worker waits for the second one to join; it says nothing then.
        play.run([[["sleep", 60]], [["listen"], TRAINING]], [["listen"], TRAINING], restarts=1)
    said = capsys.readouterr().err
    assert f"127.0.0.1:{taken}" in play.started(1, attempt=0)["addresses"]
    assert f"127.0.0.1:{taken}" not in play.started(1, attempt=1)["addresses"]
    assert re.search(
        r"train: worker 1 ended with code 75 \(try again\).*\n"
        rf"  cannot listen at 127.0.0.1:{taken}: .*Address already in use\n"
        r"train: starting the group again \(1 of 1\), from the last checkpoint and on other ports",
        said,
    )


@pytest.mark.multiprocess
def test_an_evaluation_may_take_longer_than_a_stall(play):
    # The second worker has ended meanwhile, the third waits for the first one in its next step.
    play.run(
        [TRAINING, ["evaluate", 5]],
        [TRAINING, ["exit", 0]],
        [TRAINING, ["sleep", 5.5]],
        stall_seconds=2.0,
    )


@pytest.mark.multiprocess
def test_an_evaluation_that_stops_is_a_stall(play):
    with pytest.raises(WorkerError, match=r"worker 0 made no step for \d s: evaluating at step 7"):
        play.run(
            [TRAINING, ["evaluate", 1], ["sleep", 30]],
            [TRAINING, ["exit", 0]],
            [TRAINING, ["sleep", 30]],
            stall_seconds=2.0,
        )


@pytest.mark.multiprocess
def test_each_worker_sees_its_own_gpus(play, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    play.run([["exit", 0]], [["exit", 0]])
    assert [play.started(worker)["gpus"] for worker in (0, 1)] == ["4,6", "5,7"]


@pytest.mark.multiprocess
def test_workers_without_a_gpu_see_what_there_is(play, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    play.run([["exit", 0]], [["exit", 0]])
    assert [play.started(worker)["gpus"] for worker in (0, 1)] == ["", ""]


@pytest.mark.multiprocess
def test_more_workers_than_gpus_are_refused_before_they_start(play, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(InputError, match=r"at most 1 workers \(one a GPU\), received 2; set train"):
        play.run([["exit", 0]], [["exit", 0]])
    assert not list(play.directory.glob("started-*"))


@pytest.mark.multiprocess
def test_idle_gpus_are_told(play, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    play.run([["exit", 0]], [["exit", 0]])
    assert "train: 1 of 3 GPUs stay idle" in capsys.readouterr().err


def test_a_batch_that_the_gpus_cannot_share_is_refused(tmp_path):
    config = TrainConfig(workers=2, batch_size=6)
    with pytest.raises(InputError, match=r"batch_size: expected a multiple of the 4 devices"):
        run_workers(
            tmp_path / "spec.json", config=config, heartbeats=tmp_path, gpus=["0", "1", "2", "3"]
        )


def test_workers_share_memory_which_is_new_whenever_they_start(play):
    first = [["add", 1.0, 2.0], ["signal", SIGKILL]]
    play.run(
        [first, [["add", 10.0]]],
        [[["add", 3.0, 4.0], ["sleep", 30.0]], [["add", 20.0]]],
        restarts=1,
    )

    def sums(worker, attempt):
        return json.loads((play.directory / f"sums-{worker}-{attempt}").read_text())

    for worker in range(2):
        assert sums(worker, 0) == [[4.0, 4.0], [6.0, 6.0]]
        # Numbers and rounds of the group before are gone.
        assert sums(worker, 1) == [[30.0, 30.0]]
