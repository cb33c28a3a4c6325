"""The real server as a process: start, follow a channel, refuse, and stop."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from components.registry.registry import Registry

pytestmark = [pytest.mark.server, pytest.mark.slow]
MIB = 1024 * 1024


class Process:
    """One `python -m serving`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ready_file = folder / "ready.json"
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [
                    *(sys.executable, "-m", "serving", "--port", "0"),
                    *("--ready-file", str(self.ready_file), *arguments),
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
                cwd=Path(__file__).parents[2],
            )

    def wait_ready(self, seconds: float = 120) -> dict:
        deadline = time.monotonic() + seconds
        while not self.ready_file.exists():
            assert self.popen.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        content = json.loads(self.ready_file.read_text())
        self.url = f"http://127.0.0.1:{content['port']}"
        return content

    def events(self, message: str) -> list[dict]:
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [entry for entry in map(json.loads, lines) if entry["message"] == message]

    def memory(self) -> int:
        """Returns the highest resident memory so far, in bytes."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024

    def stop(self) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(30)
        finally:
            self.popen.kill()


@pytest.fixture(scope="module")
def registry(module_maker):
    registry = Registry.open(str(module_maker.root / "registry"))
    registry.publish_bundle(module_maker.bundle("v1", prefix="one-"))
    registry.publish_bundle(module_maker.bundle("v2", prefix="two-"))
    registry.publish_bundle(module_maker.bundle("v3", prefix="three-"))
    registry.move("demo", to="v1", who="test", why="first")
    return registry


@pytest.fixture(scope="module")
def server(module_maker, registry):
    root = module_maker.root
    process = Process(
        root / "process",
        *("--registry", registry.uri, "--channel", "demo", "--cache", str(root / "cache")),
    )
    try:
        assert process.wait_ready()["version"] == "v1"
        yield process
    finally:
        assert process.stop() == 0, process.log.read_text()


def until(check, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_it_answers_items_photos_and_the_page(server, module_maker):
    answer = httpx.get(f"{server.url}/v1/items/one-red1/similar?k=2").json()
    assert (answer["version"], len(answer["results"])) == ("v1", 2)
    photo = module_maker.png((40, 60, 210))
    answer = httpx.post(f"{server.url}/v1/search?k=1", files={"image": photo}).json()
    assert [hit["item_id"] for hit in answer["results"]] == ["one-blue1"]
    page = httpx.get(f"{server.url}/?item=one-red1")
    assert page.headers["content-type"].startswith("text/html")
    assert "server" not in page.headers


def test_100_mb_are_refused_whole_and_chunked_with_a_reason_and_without_the_memory(server):
    # A warm-up, so that what is measured is the upload.
    httpx.post(f"{server.url}/v1/search", content=b"garbage")
    before = server.memory()
    chunk = b"x" * (256 * 1024)
    for content in (chunk * 400, (chunk for _ in range(400))):
        answer = httpx.post(f"{server.url}/v1/search", content=content, timeout=60)
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["reason"] == "too_many_bytes"
    boundary = b"--b\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n"
    answer = httpx.post(
        f"{server.url}/v1/search",
        content=(part for part in [boundary, *[chunk] * 400]),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        timeout=60,
    )
    assert answer.status_code == 413
    # Refused for another reason before the body was looked at.
    answer = httpx.post(f"{server.url}/v1/search?k=0", content=chunk * 400, timeout=60)
    assert answer.status_code == 422
    assert server.memory() - before < 40 * MIB
    assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_a_request_that_is_not_http_does_not_bring_it_down(server):
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as raw:
        raw.sendall(b"\x16\x03\x01garbage\r\n\r\n")
        assert b"400" in raw.recv(1000)
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_a_move_of_the_channel_swaps_without_a_failed_or_mixed_answer(server, registry):
    prefixes = {"v1": "one-", "v2": "two-"}
    done, versions, wrong = threading.Event(), [], []

    def ask():
        with httpx.Client(base_url=server.url) as client:
            while not done.is_set():
                for prefix in prefixes.values():
                    answer = client.get(f"/v1/items/{prefix}red1/similar")
                    content = answer.json()
                    if answer.status_code == 200:
                        versions.append(content["version"])
                        own = prefixes[content["version"]]
                        ids = [hit["item_id"] for hit in content["results"]]
                        if len(ids) != 5 or not all(one.startswith(own) for one in ids):
                            wrong.append(content)
                    elif content["reason"] != "unknown_item":
                        wrong.append(content)
                time.sleep(0.005)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        registry.move("demo", to="v2", who="test", why="newer")
        until(lambda: "v2" in versions)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert versions[0] == "v1"
    assert httpx.get(f"{server.url}/version").json()["version"] == "v2"


def test_a_damaged_bundle_leaves_the_last_good_one_and_says_so(server, registry, module_maker):
    path = module_maker.root / "registry" / "bundles" / "v3" / "index" / "vectors.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    registry.move("demo", to="v3", who="test", why="newest")
    until(lambda: "failed" in httpx.get(f"{server.url}/readyz").json())
    ready = httpx.get(f"{server.url}/readyz")
    assert ready.status_code == 200
    detail = ready.json()
    assert (detail["version"], detail["live"]) == ("v2", "v3")
    assert detail["failed"]["version"] == "v3"
    assert "vectors.npy" in detail["failed"]["reason"]
    (refused,) = server.events("bundle refused, the last good one stays")
    assert (refused["level"], refused["refused"], refused["serving"]) == ("error", "v3", "v2")
    assert httpx.get(f"{server.url}/v1/items/two-red1/similar").status_code == 200
    # The way back needs no download and clears the failure.
    registry.rollback("demo", who="test", why="v3 is damaged")
    until(lambda: "failed" not in httpx.get(f"{server.url}/readyz").json())


def test_a_bundle_directory_is_served_as_it_is(module_maker, registry, tmp_path):
    directory = module_maker.root / "bundles" / "v1"
    process = Process(tmp_path, "--bundle", str(directory))
    try:
        ready = process.wait_ready()
        assert ready["version"] == "v1"
        assert httpx.get(f"{process.url}/version").json()["channel"] is None
        # A second server on the port has one line to say.
        second = run("--bundle", str(directory), "--port", str(ready["port"]))
        assert second.returncode == 1
        assert second.stderr.startswith(
            f"lookalike: cannot listen on 127.0.0.1 port {ready['port']}"
        )
        assert len(second.stderr.splitlines()) == 1
    finally:
        assert process.stop() == 0


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "serving", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def test_an_empty_channel_says_what_to_do(registry):
    result = run("--registry", registry.uri, "--channel", "other", "--port", "0")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "channel 'other'" in line
    assert "lookalike index promote" in line


def test_a_first_bundle_that_is_damaged_ends_the_server(module_maker, registry, tmp_path):
    directory = tmp_path / "bundle"
    shutil.copytree(module_maker.root / "bundles" / "v1", directory)
    (directory / "items.jsonl").write_text("")
    result = run("--bundle", str(directory), "--port", "0")
    assert result.returncode == 2
    assert "items.jsonl: expected" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_wrong_usage_is_told_with_exit_code_2():
    assert run("--port", "0").returncode == 2
    assert run("--port", "many").returncode == 2
