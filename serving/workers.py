"""Several server processes behind one listening socket.

They accept from the same socket, so that a worker that ends takes no waiting connection with it;
one that ends by itself is replaced. Each holds its own index and encoder, and follows the channel
by itself. With one that stands by they load in turns (`serving.rotation`); without one, none waits
for another.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType

from components.contracts.errors import InputError, LookalikeError
from serving import log
from serving.identity.sessions import share_key
from serving.rotation import Command, Rotation
from serving.settings import Settings
from serving.turns import Message

# `serving.metrics` reads it; not imported from there, because it must be set first.
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# A worker that ends sooner than this after its start is replaced later and later.
_STABLE_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 30.0
_KILL_AFTER_SECONDS = 5.0


@dataclass
class _Worker:
    number: int
    process: SpawnProcess
    pipe: Connection
    started: float = field(default_factory=time.monotonic)
    version: str = ""


class Supervisor:
    """Starts the workers, replaces those that end, and stops them together."""

    def __init__(
        self, settings: Settings, listener: socket.socket, tell_ready: Callable[[str], None]
    ) -> None:
        """Prepares; `run` serves.

        Args:
            settings: What to serve and how; `workers` says how many.
            listener: A listening socket.
            tell_ready: Called with the version once every worker answers.
        """
        self._settings = settings
        self._listener = listener
        self._tell_ready = tell_ready
        self._spawn = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._rotation = Rotation(settings.workers)
        self._failures = 0
        self._told = False
        self._stop_reader, self._stop_writer = self._spawn.Pipe(duplex=False)

    def run(self) -> int:
        """Serves until SIGTERM or SIGINT.

        Raises:
            LookalikeError: A worker could not begin to serve.
        """
        log.configure()
        # A browser signs in with one worker, and the next page comes from another.
        share_key()
        metrics = None
        if not os.environ.get(_METRICS_VARIABLE):
            metrics = tempfile.mkdtemp(prefix="lookalike-metrics-")
            os.environ[_METRICS_VARIABLE] = metrics
        previous = {number: signal.signal(number, self._on_signal) for number in _STOPS}
        try:
            for number in range(self._settings.workers + self._settings.spare):
                self._workers.append(self._start(number))
            return self._watch()
        finally:
            self._stop_all()
            for number, handler in previous.items():
                signal.signal(number, handler)
            if metrics is not None:
                os.environ.pop(_METRICS_VARIABLE, None)
                shutil.rmtree(metrics, ignore_errors=True)

    def _start(self, number: int) -> _Worker:
        ours, theirs = self._spawn.Pipe()
        accepting = self._rotation.started(number)
        process = self._spawn.Process(
            target=_work,
            args=(self._settings, self._listener, theirs, accepting),
            name=f"worker-{number}",
        )
        process.start()
        theirs.close()
        return _Worker(number, process, ours)

    def _watch(self) -> int:
        while True:
            pipes = {worker.pipe: worker for worker in self._workers}
            for ready in wait([self._stop_reader, *pipes]):
                if ready is self._stop_reader:
                    return 0
                self._hear(pipes[ready])  # type: ignore[index]

    def _hear(self, worker: _Worker) -> None:
        try:
            kind, *told = worker.pipe.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        if kind == "error" and not self._told:
            raise _error(*told)
        if kind == "error":
            # It ends now, and another one tries; the others answer meanwhile.
            log.event("worker cannot serve", level=logging.ERROR, reason=told[1])
            return
        if kind == "ready":
            self._obey(self._rotation.ready(worker.number))
            self._note_ready(worker, *told)
        else:
            heard = _HEARD[kind]
            self._obey(heard(self._rotation, worker.number, *told))

    def _obey(self, commands: list[Command]) -> None:
        """Passes the rotation's commands on; who does not hear them is dying, and replaced."""
        for command in commands:
            for worker in self._workers:
                if worker.number == command.worker:
                    with contextlib.suppress(OSError):
                        worker.pipe.send((command.kind, command.channel, command.reason))

    def _note_ready(self, worker: _Worker, version: str) -> None:
        worker.version = version
        if not self._told and all(one.version for one in self._workers):
            self._told = True
            log.event("all workers ready", workers=len(self._workers), version=version)
            self._tell_ready(version)

    def _replace(self, worker: _Worker) -> None:
        """Puts a new worker in the place of one that has ended."""
        worker.process.join()
        code = worker.process.exitcode
        if not self._told:
            raise LookalikeError(f"a worker ended before it was ready (exit code {code})")
        lived = time.monotonic() - worker.started
        self._failures = 0 if lived > _STABLE_SECONDS else self._failures + 1
        pause = min(_LONGEST_PAUSE_SECONDS, 0.5 * 2**self._failures) if self._failures > 1 else 0.0
        log.event(
            "worker ended, another takes its place",
            level=logging.ERROR,
            worker=worker.number,
            exit_code=code,
            pause_seconds=pause,
        )
        _forget_metrics(worker.process.pid)
        self._obey(self._rotation.gone(worker.number))
        if pause and self._stop_reader.poll(pause):
            return
        self._workers[self._workers.index(worker)] = self._start(worker.number)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        with contextlib.suppress(OSError):
            self._stop_writer.send_bytes(b"stop")

    def _stop_all(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + self._settings.shutdown_seconds + _KILL_AFTER_SECONDS
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                log.event("worker killed", level=logging.ERROR, worker=worker.number)
                worker.process.kill()
                worker.process.join()


_STOPS = (signal.SIGTERM, signal.SIGINT)
# What a worker tells of its turns, and who decides what follows.
_HEARD: dict[str, Callable[..., list[Command]]] = {
    "has": Rotation.has,
    "failed": Rotation.failed,
    "asks": Rotation.asks,
    "gives up": Rotation.gives_up,
    "done": Rotation.done,
}


def _work(settings: Settings, listener: socket.socket, pipe: Connection, accepting: bool) -> None:
    """Runs in the worker's process."""
    from serving.process import ServerProcess  # noqa: PLC0415 - after the supervisor's settings

    def tell(message: Message) -> None:
        with contextlib.suppress(OSError):
            pipe.send(message)

    try:
        process = ServerProcess(
            settings,
            listener,
            lambda version: tell(("ready", version)),
            tell=tell,
            accepting=accepting,
        )

        def watch() -> None:
            # The other end closes when the supervisor is gone, however it went.
            with contextlib.suppress(EOFError, OSError):
                while True:
                    process.hear(pipe.recv())
            process.stop()

        threading.Thread(target=watch, daemon=True, name="supervisor").start()
        process.run()
    except LookalikeError as error:
        tell(("error", str(error.exit_code), str(error)))


def _error(code: str, message: str) -> LookalikeError:
    return InputError(message) if int(code) == InputError.exit_code else LookalikeError(message)


def _forget_metrics(pid: int | None) -> None:
    """Removes what a dead worker said of the present; its counts stay."""
    folder = os.environ.get(_METRICS_VARIABLE)
    if folder and pid:
        for path in Path(folder).glob(f"gauge_live*_{pid}.db"):
            path.unlink(missing_ok=True)
