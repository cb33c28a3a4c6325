"""Load and servers for the serving benchmarks: wrk from a process of its own, real servers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.contracts.errors import LookalikeError

TOKEN = "a-token-for-the-benchmark-only-0123456789"
ROOT = Path(__file__).parents[2]
# Checks every answer: its version, that of its header, and those in its titles must be one.
_ITEMS = """
math.randomseed(%(seed)d)
wait_ms, mixed, failed, versions = %(wait_ms)s, 0, 0, ""
request = function()
  return wrk.format("GET", string.format("/v1/items/i%%06d/similar?k=10", math.random(0, %(last)d)))
end
delay = function()
  -- Spread, so that the connections do not fall into step.
  return wait_ms * (0.5 + math.random())
end
response = function(status, headers, body)
  if status ~= 200 then failed = failed + 1 return end
  if not %(check)s then return end
  local version = string.match(body, '^{"version":"([^"]*)"')
  local wrong = version ~= headers["x-lookalike-bundle"]
  local titles = 0
  for found in string.gmatch(body, '"title":"([^:]*):') do
    titles = titles + 1
    if found ~= version then wrong = true end
  end
  if wrong or titles ~= 10 then mixed = mixed + 1 end
  if not string.find(versions, version .. " ", 1, true) then
    versions = versions .. version .. " "
  end
end
"""
_PHOTOS = """
photos = {}
for _, name in ipairs({%(names)s}) do
  local file = io.open(name, "rb")
  table.insert(photos, file:read("*a"))
  file:close()
end
failed, mixed, versions, turn = 0, 0, "", 0
request = function()
  turn = turn + 1
  return wrk.format("POST", "/v1/search?k=10", {["Content-Type"] = "image/jpeg"},
                    photos[turn %% #photos + 1])
end
response = function(status)
  if status ~= 200 then failed = failed + 1 end
end
"""
_REPORT = """
local threads = {}
setup = function(thread) table.insert(threads, thread) end
done = function(summary, latency)
  local failed, mixed, versions = 0, 0, ""
  for _, thread in ipairs(threads) do
    failed, mixed = failed + thread:get("failed"), mixed + thread:get("mixed")
    versions = versions .. thread:get("versions")
  end
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %.6f, "failed": %d, "mixed": %d, "versions": "%s", ' ..
    '"socket_errors": %d, "p50": %.6f, "p99": %.6f, "max": %.6f}\\n',
    summary.requests, summary.duration / 1e6, failed, mixed, versions,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6, latency.max / 1e6))
end
"""


@dataclass(frozen=True)
class Load:
    """What wrk saw. Times are in seconds."""

    requests: int
    seconds: float
    failed: int
    mixed: int
    versions: str
    socket_errors: int
    p50: float
    p99: float
    max: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


class Wrk:
    """One run of wrk."""

    def __init__(self, url: str, script: str, folder: Path, *, connections: int, seconds: float):
        """Starts it."""
        program = shutil.which("wrk")
        if program is None:
            raise LookalikeError("wrk is missing: apt-get install wrk")
        path = folder / f"wrk-{time.monotonic_ns()}.lua"
        path.write_text(script + _REPORT)
        self._process = subprocess.Popen(
            [
                *(program, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}"),
                *("--timeout", "10s", "-s", str(path), url),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def running(self) -> bool:
        """Whether it still asks."""
        return self._process.poll() is None

    def stop(self) -> Load:
        """Ends it before its time."""
        self._process.send_signal(signal.SIGINT)
        return self.result()

    def result(self) -> Load:
        """Waits for the end."""
        output = self._process.communicate()[0]
        found = re.search(r"RESULT (\{.*\})", output)
        if found is None:
            raise LookalikeError(f"wrk said nothing useful: {output}")
        return Load(**json.loads(found[1]))


def items(
    url: str,
    folder: Path,
    *,
    count: int,
    connections: int,
    seconds: float,
    rate: float = 0.0,
    check: bool = False,
) -> Wrk:
    """Starts to ask for random items.

    Args:
        url: The server.
        folder: For the script.
        count: How many items there are.
        connections: How many ask at the same time.
        seconds: How long.
        rate: Requests per second in all; 0 for as fast as they are answered.
        check: Whether every answer is read.
    """
    script = _ITEMS % {
        "seed": time.monotonic_ns() % 2**31,
        "wait_ms": 1000 * connections / rate if rate else 0,
        "last": count - 1,
        "check": str(check).lower(),
    }
    if not rate:
        script = re.sub(r"delay = function.*?\nend\n", "", script, flags=re.DOTALL)
    return Wrk(url, script, folder, connections=connections, seconds=seconds)


def photos(
    url: str, folder: Path, images: list[bytes], *, connections: int, seconds: float
) -> Load:
    """Asks for photos as fast as they are answered."""
    names = []
    for number, data in enumerate(images):
        path = folder / f"photo-{number}.jpg"
        path.write_bytes(data)
        names.append(f'"{path}"')
    script = _PHOTOS % {"names": ", ".join(names)}
    return Wrk(url, script, folder, connections=connections, seconds=seconds).result()


class Server:
    """One `python -m serving`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        """Starts it and waits until it is ready."""
        folder.mkdir(parents=True, exist_ok=True)
        ready = folder / "ready.json"
        ready.unlink(missing_ok=True)
        self._log = (folder / "server.log").open("wb")
        started = time.monotonic()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "serving", "--port", "0"),
                *("--ready-file", str(ready), *arguments),
            ],
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "LOOKALIKE_TOKEN": TOKEN},
            cwd=ROOT,
        )
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() - started > 300:
                self.stop()
                raise LookalikeError((folder / "server.log").read_text()[-2000:])
            time.sleep(0.02)
        self.start_seconds = time.monotonic() - started
        self.url = f"http://127.0.0.1:{json.loads(ready.read_text())['port']}"

    def workers(self) -> dict[int, str]:
        """Returns the version that each worker answers with, as far as they answer."""
        found: dict[int, str] = {}
        for _ in range(8):
            # A connection of its own each time: any worker may take it. A plain one, as a client
            # with TLS takes 20 ms of the processor to make, away from what is measured.
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=10) as answer:
                detail: dict[str, Any] = json.load(answer)
            found[detail["worker"]] = detail["version"]
        return found

    def memory(self) -> int:
        """Returns the resident memory of the server's processes, in bytes."""
        import psutil

        top = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in [top, *top.children(recursive=True)])

    def stop(self) -> None:
        """Stops it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._log.close()
