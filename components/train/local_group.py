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

from components.train.config import TrainConfig
from components.train.gpus import GPUS_VARIABLE, share_gpus, visible_gpus
from components.train.group_errors import CancelledError, WorkerError
from components.train.heartbeat import Watch
from components.train.shared_memory import MEMORY_VARIABLE, group_memory
from components.train.termination import told_on_sigterm
from components.train.worker import TRY_AGAIN, WATCH_VARIABLE

# What each worker runs, before `--spec FILE`.
WORKER_PROGRAM = (sys.executable, "-m", "components.train")
_LINES_KEPT = 30
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 5.0
# Kubernetes kills 30 s after SIGTERM: saving has to fit in between.
_SAVE_SECONDS = 20.0
_BLAME_SECONDS = 5.0
# TensorFlow gives a worker that does not answer up about 10 s after; where it cannot, as with one
# worker, it is given up here.
_STOPPED_SECONDS = 20.0
# TensorFlow greets at start-up with lines that say nothing about the run.
_NOISE = (
    "oneDNN custom operations",
    "cudart_stub",
    "cuda_platform",
    "cpu_feature_guard",
    "TensorRT",
)


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[str]
    watch: int
    stopped_since: float | None = None
    lines: collections.deque[str] = field(
        default_factory=lambda: collections.deque(maxlen=_LINES_KEPT)
    )
    reader: threading.Thread | None = None


class _LostError(Exception):
    """The group lost a worker; starting it again may help."""


def run_workers(
    spec: Path,
    *,
    config: TrainConfig,
    heartbeats: Path,
    gpus: Sequence[str] | None = None,
) -> None:
    """Runs a group of training processes on loopback until all have ended well.

    Each worker's output goes to standard error with the worker's number in front. When one dies,
    or the group makes no step for too long, the group is ended and started again, up to
    `config.restarts` times; it goes on from its last checkpoint. When this process is told to
    stop, the first worker saves and all end; when it dies, they end at once. Where there are
    GPUs, each worker sees its own.

    Args:
        spec: The file that says what to train, see `components.train.worker.Spec`.
        config: How many workers, restarts, and how long a stall may last.
        heartbeats: Where the workers say that they are alive.
        gpus: What they share, in the words of CUDA_VISIBLE_DEVICES; None for all that is visible.

    Raises:
        InputError: There are GPUs, but fewer than workers, or the batch cannot be shared out.
        WorkerError: A worker failed, for a reason that starting again does not mend, or too often;
            the message holds its last lines.
        CancelledError: SIGTERM came.
    """
    gpus = visible_gpus(os.environ) if gpus is None else gpus
    shares = share_gpus(gpus, config.workers)
    config.check_devices(sum(max(1, len(share)) for share in shares))
    if idle := len(gpus) - sum(map(len, shares)):
        _say(
            f"{idle} of {len(gpus)} GPUs stay idle: every worker needs as many as the others; "
            f"choose train.workers so that it divides {len(gpus)}"
        )
    with told_on_sigterm() as told:
        for attempt in range(config.restarts + 1):
            try:
                _run_group(spec, config, heartbeats, shares, told)
                break
            except _LostError as lost:
                if attempt == config.restarts:
                    raise WorkerError(
                        f"train: {lost}\nThe group was started {attempt + 1} times. Run the step "
                        "again: it goes on from the last checkpoint."
                    ) from None
                _say(str(lost))
                _say(
                    f"starting the group again ({attempt + 1} of {config.restarts}), from the "
                    "last checkpoint and on other ports"
                )


def _run_group(
    spec: Path,
    config: TrainConfig,
    heartbeats: Path,
    shares: Sequence[Sequence[str]],
    told: threading.Event,
) -> None:
    group: list[_Worker] = []
    memory = group_memory()
    try:
        with free_ports(config.workers) as ports:
            addresses = [f"127.0.0.1:{port}" for port in ports]
        watch = Watch(heartbeats, config.workers, time.monotonic())
        for number, gpus in enumerate(shares):
            group.append(_start(spec, number, addresses, gpus, memory))
        _wait(group, watch, config.stall_seconds, told)
    finally:
        os.close(memory)
        _end(group)


def _say(words: str) -> None:
    print(f"train: {words}", file=sys.stderr, flush=True)


def _start(
    spec: Path, number: int, addresses: Sequence[str], gpus: Sequence[str], memory: int
) -> _Worker:
    read_end, write_end = os.pipe()
    environment = dict(os.environ)
    environment[MEMORY_VARIABLE] = str(memory)
    environment["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": number}}
    )
    environment[WATCH_VARIABLE] = str(read_end)
    environment["PYTHONUNBUFFERED"] = "1"
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if gpus:
        # TensorFlow takes the whole of every GPU that it sees.
        environment[GPUS_VARIABLE] = ",".join(gpus)
    # Workers talk on loopback: a proxy must not come between.
    environment["no_proxy"] = environment["NO_PROXY"] = "127.0.0.1,localhost"
    environment["GRPC_VERBOSITY"] = environment.get("GRPC_VERBOSITY", "ERROR")
    try:
        process = subprocess.Popen(
            [*WORKER_PROGRAM, "--spec", str(spec)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=[read_end, memory],
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


def _wait(
    group: Sequence[_Worker], watch: Watch, stall_seconds: float, told: threading.Event
) -> None:
    """Waits for all workers to end well.

    Raises:
        _LostError: A worker was killed or lost a peer, or the group makes no step.
        WorkerError: A worker failed for a reason of its own.
        CancelledError: This process was told to stop; the first worker has saved.
    """
    running = list(group)
    while running:
        if told.wait(_POLL_SECONDS):
            raise CancelledError(_save_and_stop(group[0]))
        for worker in list(running):
            code = worker.process.poll()
            if code is None:
                if _stopped_for(worker, time.monotonic()) >= _STOPPED_SECONDS:
                    raise _LostError(_stopped_words([worker], watch))
                continue
            if code != 0:
                raise _failure(group, worker, watch)
            running.remove(worker)
            watch.ended(worker.number, time.monotonic())
        if running and (words := watch.stalled(time.monotonic(), stall_seconds)):
            raise _LostError(words)


def _failure(group: Sequence[_Worker], first: _Worker, watch: Watch) -> Exception:
    """Returns what to raise for a group in which a worker ended badly.

    A worker that only lost a peer says so by its exit code; who is to blame is found among the
    others: one that failed by itself, which may take a moment to end, or one that does not answer.

    Args:
        group: All workers.
        first: The one that was seen to have ended badly.
        watch: What the workers say.
    """
    deadline = time.monotonic() + _BLAME_SECONDS
    while True:
        codes = [(worker, worker.process.poll()) for worker in group]
        for worker, code in codes:
            if code is not None and code > 0 and code != TRY_AGAIN:
                return WorkerError(f"train: {_obituary(worker, code)}")
        stopped = [worker for worker, code in codes if code is None and _is_stopped(worker)]
        if stopped:
            return _LostError(_stopped_words(stopped, watch))
        for worker, code in codes:
            if code is not None and code < 0:
                return _LostError(_obituary(worker, code))
        if time.monotonic() >= deadline or all(code is not None for _, code in codes):
            break
        time.sleep(_POLL_SECONDS)
    running = [worker.number for worker, code in codes if code is None]
    if words := watch.silent(time.monotonic(), running):
        return _LostError(f"{words}; the others lost it, and were ended")
    return _LostError(_obituary(first, TRY_AGAIN))


def _stopped_words(stopped: Sequence[_Worker], watch: Watch) -> str:
    who = " and ".join(
        f"worker {worker.number} (process {worker.process.pid}; {watch.last_said(worker.number)})"
        for worker in stopped
    )
    verb = "is" if len(stopped) == 1 else "are"
    return f"{who} {verb} stopped, as by SIGSTOP, and held the group up; all workers were ended"


def _stopped_for(worker: _Worker, now: float) -> float:
    """Returns for how many seconds a worker's process has been seen stopped."""
    if not _is_stopped(worker):
        worker.stopped_since = None
        return 0.0
    if worker.stopped_since is None:
        worker.stopped_since = now
    return now - worker.stopped_since


def _is_stopped(worker: _Worker) -> bool:
    """Whether a worker's process is stopped by a signal; False where there is no /proc."""
    try:
        stat = Path(f"/proc/{worker.process.pid}/stat").read_text()
    except OSError:
        return False
    # The name stands in parentheses and may hold some itself; the state is the next field.
    return stat.rpartition(")")[2].split()[:1] == ["T"]


def _obituary(worker: _Worker, code: int) -> str:
    if worker.reader is not None:
        worker.reader.join(timeout=_GRACE_SECONDS)
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    if code == TRY_AGAIN:
        how += " (try again)"
    lines = "".join(f"\n  {line}" for line in worker.lines) or "\n  (it said nothing)"
    return f"worker {worker.number} {how}; the other workers were ended. Its last lines:{lines}"


def _save_and_stop(first: _Worker) -> str:
    """Lets the first worker save, while the others still take part in its step."""
    first.process.terminate()
    try:
        code = first.process.wait(timeout=_SAVE_SECONDS)
    except subprocess.TimeoutExpired:
        return (
            f"train: told to stop (SIGTERM); the first worker did not save within "
            f"{_SAVE_SECONDS:.0f} s, the checkpoint before stays"
        )
    saved = "the first worker saved first" if code == TRY_AGAIN else "there was nothing to save"
    return f"train: told to stop (SIGTERM); {saved}. Run the step again to go on"


def _end(group: Sequence[_Worker]) -> None:
    """Ends whoever still runs and releases the pipes.

    What is worth saving has been saved before: a worker alone cannot finish a step.
    """
    for worker in group:
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait()
        os.close(worker.watch)
        if worker.reader is not None:
            worker.reader.join(timeout=_GRACE_SECONDS)
        if worker.process.stdout is not None:
            worker.process.stdout.close()


@contextlib.contextmanager
def free_ports(count: int) -> Iterator[list[int]]:
    """Yields ports that were free together a moment ago."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            listener = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            listener.bind(("127.0.0.1", 0))
            ports.append(int(listener.getsockname()[1]))
        yield ports
