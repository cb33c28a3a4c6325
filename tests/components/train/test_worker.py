"""Worker processes without the launcher, as they run in a cluster."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.train.checkpoints import Checkpoints
from components.train.local_group import free_ports
from components.train.shared_memory import MEMORY_VARIABLE, group_memory
from components.train.worker import HISTORY_FILE, TRY_AGAIN, _place_in
from tests.components.train.test_train import spec_of_a_run, step_of, wait_for


@contextlib.contextmanager
def started(
    spec: Path, workers: int, directory: Path, *, memory: int | None = None
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Starts a group as the Training Operator does: each worker with its place in TF_CONFIG.

    With `memory` the workers share it, as those of one machine do. None is left afterwards.
    """
    with free_ports(workers) as ports:
        addresses = [f"127.0.0.1:{port}" for port in ports]
    group = []
    try:
        for number in range(workers):
            task = {"type": "worker", "index": number}
            environment = dict(os.environ) | {
                "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task}),
                "no_proxy": "127.0.0.1",
            }
            shared = [] if memory is None else [memory]
            if shared:
                environment[MEMORY_VARIABLE] = str(memory)
            command = [sys.executable, "-m", "components.train", "--spec", str(spec)]
            with (directory / f"worker-{number}.log").open("wb") as log:
                group.append(
                    subprocess.Popen(
                        command, env=environment, stdout=log, stderr=log, pass_fds=shared
                    )
                )
        yield group
    finally:
        for worker in group:
            worker.kill()
            worker.wait()


def logs_of(directory: Path, workers: int) -> list[str]:
    return [(directory / f"worker-{number}.log").read_text() for number in range(workers)]


@pytest.mark.multiprocess
@pytest.mark.slow
def test_whichever_worker_is_preempted_all_of_the_group_is_saved(tmp_path, examples, taxonomy):
    spec = spec_of_a_run(tmp_path, examples, taxonomy, checkpoint_every=5_000)
    with started(spec, 2, tmp_path) as group:
        assert wait_for(lambda: step_of(spec) >= 2)
        group[1].send_signal(signal.SIGTERM)
        codes = [worker.wait(timeout=60) for worker in group]
    logs = logs_of(tmp_path, 2)
    assert codes == [TRY_AGAIN] * 2, logs
    saved = Checkpoints(tmp_path / "checkpoints", keep=2).latest()
    assert saved.step >= 2
    assert all(f"told to stop; saved at step {saved.step}" in log for log in logs)


@pytest.mark.multiprocess
@pytest.mark.slow
def test_by_messages_and_by_memory_the_training_is_the_same(tmp_path, examples, taxonomy):
    curves = []
    for name, memory in (("messages", None), ("memory", group_memory())):
        directory = tmp_path / name
        directory.mkdir()
        spec = spec_of_a_run(directory, examples, taxonomy, epochs=2)
        with started(spec, 2, directory, memory=memory) as group:
            codes = [worker.wait(timeout=120) for worker in group]
        assert codes == [0, 0], logs_of(directory, 2)
        history = json.loads((directory / "output" / HISTORY_FILE).read_text())
        curves.append([record["loss"] for record in history])
        if memory is not None:
            os.close(memory)
    # Both add float32 numbers of two workers.
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)


def test_vertex_counts_the_chief_apart():
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}

    def place(kind, index):
        return _place_in({"cluster": cluster, "task": {"type": kind, "index": index}})

    assert place("chief", 0) == (["a:1", "b:1", "c:1"], 0)
    assert place("worker", 0)[1] == 1
    assert place("worker", 1)[1] == 2
    assert _place_in({}) == ([], 0)
