"""Starts the training processes of a group on this machine and watches over them."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from components.contracts.errors import LookalikeError
from components.train.worker import WATCH_VARIABLE

_LINES_KEPT = 30
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 5.0
# TensorFlow greets at start-up with lines that say nothing about the run.
_NOISE = (
    "oneDNN custom operations",
    "cudart_stub",
    "cuda_platform",
    "cpu_feature_guard",
    "TensorRT",
)


class WorkerError(LookalikeError):
    """A training process ended before its work was done."""


class CancelledError(LookalikeError):
    """The step was told to stop."""


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[str]
    watch: int
    lines: collections.deque[str] = field(
        default_factory=lambda: collections.deque(maxlen=_LINES_KEPT)
    )
    reader: threading.Thread | None = None


def run_workers(spec: Path, *, workers: int) -> None:
    """Runs a group of training processes on loopback until all have ended well.

    Each worker's output goes to standard error with the worker's number in front. When one dies
    the others are ended too; when this process is told to stop, or dies, so are they.

    Args:
        spec: The file that says what to train, see `components.train.worker.Spec`.
        workers: How many processes.

    Raises:
        WorkerError: A worker failed; the message holds its last lines.
        CancelledError: SIGTERM came.
    """
    group: list[_Worker] = []
    with _cancel_on_sigterm():
        try:
            with _free_ports(workers) as ports:
                addresses = [f"127.0.0.1:{port}" for port in ports]
            for number in range(workers):
                group.append(_start(spec, number, addresses))
            _wait(group)
        finally:
            _end(group)


def _start(spec: Path, number: int, addresses: Sequence[str]) -> _Worker:
    read_end, write_end = os.pipe()
    environment = dict(os.environ)
    environment["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": number}}
    )
    environment[WATCH_VARIABLE] = str(read_end)
    environment["PYTHONUNBUFFERED"] = "1"
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Workers talk on loopback: a proxy must not come between, and no GPU is looked for.
    environment["no_proxy"] = environment["NO_PROXY"] = "127.0.0.1,localhost"
    environment["GRPC_VERBOSITY"] = environment.get("GRPC_VERBOSITY", "ERROR")
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "components.train.worker", "--spec", str(spec)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=[read_end],
            # A Ctrl-C reaches this process alone, which then ends the group in order.
            start_new_session=True,
        )
    except BaseException:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    worker = _Worker(number, process, write_end)
    worker.reader = threading.Thread(target=_relay, args=(worker,), daemon=True)
    worker.reader.start()
    return worker


def _relay(worker: _Worker) -> None:
    """Passes a worker's lines on and remembers the last ones."""
    stream = worker.process.stdout
    assert stream is not None
    for line in stream:
        text = line.rstrip()
        if not text or any(noise in text for noise in _NOISE):
            continue
        worker.lines.append(text)
        print(f"[worker {worker.number}] {text}", file=sys.stderr, flush=True)


def _wait(group: Sequence[_Worker]) -> None:
    running = list(group)
    while running:
        time.sleep(_POLL_SECONDS)
        for worker in list(running):
            code = worker.process.poll()
            if code is None:
                continue
            if code != 0:
                raise WorkerError(_obituary(worker, code))
            running.remove(worker)


def _obituary(worker: _Worker, code: int) -> str:
    if worker.reader is not None:
        worker.reader.join(timeout=_GRACE_SECONDS)
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    lines = "".join(f"\n  {line}" for line in worker.lines) or "\n  (it said nothing)"
    return (
        f"train: worker {worker.number} {how}; the other workers were ended. Run the step again: "
        f"it goes on from the last checkpoint. The worker's last lines:{lines}"
    )


def _end(group: Sequence[_Worker]) -> None:
    """Ends whoever still runs, kindly and then not, and releases the pipes."""
    for worker in group:
        if worker.process.poll() is None:
            worker.process.terminate()
    deadline = time.monotonic() + _GRACE_SECONDS
    for worker in group:
        try:
            worker.process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        os.close(worker.watch)
        if worker.reader is not None:
            worker.reader.join(timeout=_GRACE_SECONDS)
        if worker.process.stdout is not None:
            worker.process.stdout.close()


@contextlib.contextmanager
def _free_ports(count: int) -> Iterator[list[int]]:
    """Yields ports that were free together a moment ago."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            listener = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            listener.bind(("127.0.0.1", 0))
            ports.append(int(listener.getsockname()[1]))
        yield ports


@contextlib.contextmanager
def _cancel_on_sigterm() -> Iterator[None]:
    """Turns SIGTERM into an exception, so that the group is ended; main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def cancel(_number: int, _frame: FrameType | None) -> None:
        raise CancelledError("train: told to stop (SIGTERM); the workers were ended")

    previous = signal.signal(signal.SIGTERM, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
