"""The server as a process: started clean, watched, asked over HTTP, always ended."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.contracts.files import read_json, write_json
from components.evaluate.config import EvaluateConfig

_POLL_SECONDS = 0.05
_LOG_TAIL = 600
_BUNDLE = "bundle"
_STAGES = "stages.json"
_REFUSED = "refused.txt"


class ServerFailedError(Exception):
    """The server did not do what was asked; the message says what."""


@dataclass(frozen=True)
class Launch:
    """What to start.

    Attributes:
        registry: URI of the registry that the candidate is downloaded from.
        version: The candidate.
        blocked: Modules that the process must not find; see `components.evaluate.dependencies`.
        server: The module, or .py file, that the process becomes. `--bundle`, `--host`, `--port`
            and `--ready-file` are its arguments.
    """

    registry: str
    version: str
    blocked: Sequence[str] = ()
    server: str = "serving"


@dataclass
class Session:
    """A running server and the time left for it.

    Attributes:
        port: Where it listens on 127.0.0.1.
        process: The process.
        bundle: The directory that it downloaded the candidate into.
        deadline: When its answers must be complete, by `time.monotonic`.
        figures: What was measured so far.
        refused: Modules that it asked for and that the image does not hold.
    """

    port: int
    process: subprocess.Popen[bytes]
    bundle: Path
    deadline: float
    figures: dict[str, float] = field(default_factory=dict)
    refused: tuple[str, ...] = ()

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Returns the status and the parsed JSON of one request.

        Raises:
            ServerFailedError: There is no answer in time, or it is not JSON.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise ServerFailedError("its answers took longer than evaluate.server_seconds")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=left)
        try:
            headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServerFailedError(f"{method} {path}: no usable answer ({error!r})") from None
        finally:
            connection.close()

    def results(self, method: str, path: str, body: bytes | None = None) -> list[dict[str, Any]]:
        """Returns the results of a search.

        Raises:
            ServerFailedError: The answer is not a list of results.
        """
        status, answer = self.ask(method, path, body)
        results = answer.get("results") if isinstance(answer, dict) else None
        if status != 200 or not isinstance(results, list):
            raise ServerFailedError(f"{method} {path}: status {status}, {str(answer)[:200]}")
        return results


@contextmanager
def running(launch: Launch, scratch: Path, config: EvaluateConfig) -> Iterator[Session]:
    """Runs the server in an empty directory for the length of the block; it is always ended.

    Args:
        launch: What to start.
        scratch: An empty directory for everything that the process writes.
        config: Limits on time and memory.

    Raises:
        ServerFailedError: It ends, is not ready in time or takes too much memory.
    """
    ready, log = scratch / "ready.json", scratch / "server.log"
    blocked = scratch / "blocked.json"
    # The process works elsewhere: a path is one from here.
    registry = launch.registry
    if not registry.startswith(("file:", "gs:")):
        registry = str(Path(registry).absolute())
    write_json(blocked, list(launch.blocked))
    arguments = [
        *(sys.executable, "-P", "-m", "components.evaluate.clean_room"),
        *("--blocked", str(blocked), "--refused", str(scratch / _REFUSED)),
        *("--stages", str(scratch / _STAGES), "--registry", registry),
        *("--version", launch.version, "--target", str(scratch / _BUNDLE)),
        *("--server", launch.server, "--bundle", str(scratch / _BUNDLE)),
        *("--host", "127.0.0.1", "--port", "0", "--ready-file", str(ready)),
    ]
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=scratch,
            env=_environment(),
            # It stays in this process's group: who ends the step as a group ends it too.
        )
        try:
            try:
                port = _wait_until_ready(process, ready, log, start, config)
            except ServerFailedError as error:
                raise ServerFailedError(f"{error}{_hidden(scratch / _REFUSED)}") from None
            session = Session(
                port=port,
                process=process,
                bundle=scratch / _BUNDLE,
                deadline=time.monotonic() + config.server_seconds,
                refused=_lines(scratch / _REFUSED),
            )
            stages = read_json(scratch / _STAGES)
            session.figures.update(stages)
            seconds = time.monotonic() - start - stages["download_seconds"]
            session.figures["start_seconds"] = seconds
            try:
                yield session
            except ServerFailedError as error:
                # What it answered says that it failed; what it logged says why.
                raise ServerFailedError(f"{error}; its log ends with: {_tail(log)}") from None
        finally:
            process.kill()
            process.wait()


def peak_memory_mb(pid: int) -> float:
    """Returns a process's peak resident memory in MiB; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return float(lines[0][1]) / 1024 if lines else 0.0


def _wait_until_ready(
    process: subprocess.Popen[bytes], ready: Path, log: Path, start: float, config: EvaluateConfig
) -> int:
    limit = config.max_server_memory_mb
    while not ready.exists():
        if process.poll() is not None:
            raise ServerFailedError(
                f"it ended with {process.returncode} before it was ready: {_tail(log)}"
            )
        if time.monotonic() - start > config.server_start_seconds:
            raise ServerFailedError(
                f"it was not ready after {config.server_start_seconds:g} s: {_tail(log)}"
            )
        if limit and (memory := peak_memory_mb(process.pid)) > limit:
            raise ServerFailedError(
                f"it took {memory:.0f} MiB before it was ready, above the limit of {limit:g} MiB "
                "of evaluate.max_server_memory_mb"
            )
        time.sleep(_POLL_SECONDS)
    value = read_json(ready)
    port = value.get("port") if isinstance(value, dict) else None
    if not isinstance(port, int):
        raise ServerFailedError(f"expected a port in its ready file, received {value!r}")
    return port


def _environment() -> dict[str, str]:
    """Returns this process's environment without what packages outside the image put there."""
    environment = dict(os.environ)
    # TensorFlow Transform sets it in every process that imports it; the image does not hold that.
    environment.pop("TF_USE_LEGACY_KERAS", None)
    return environment


def _hidden(refused: Path) -> str:
    """Returns what a server that did not start had asked for and the image does not hold."""
    names = _lines(refused)
    if not names:
        return ""
    return (
        f"; it asked for {', '.join(names)}: installed here, but the serving image does not hold it"
    )


def _lines(path: Path) -> tuple[str, ...]:
    if not path.exists():
        return ()
    return tuple(sorted(set(path.read_text(encoding="utf-8").split())))


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    return text[-_LOG_TAIL:] or "it printed nothing"
