"""The stores that the contract holds for."""

from __future__ import annotations

import gc
import importlib.util
import sys
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from components.registry.object_store import ObjectStore, open_store


@pytest.fixture(scope="session")
def fake_gcs() -> ModuleType:
    """The module tests/benchmarks/fake_gcs.py, which the benchmarks use, too."""
    path = Path(__file__).parents[2] / "benchmarks" / "fake_gcs.py"
    spec = importlib.util.spec_from_file_location("fake_gcs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_gcs"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def gcs_emulator(fake_gcs: ModuleType) -> Iterator[str]:
    """A running fake-gcs-server with the bucket `lookalike-tests`; its address."""
    with fake_gcs.fake_gcs_server() as address:
        fake_gcs.make_bucket(address, "lookalike-tests")
        yield address


@pytest.fixture
def gcs_uri(gcs_emulator: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh, empty folder in a bucket of the emulator."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_emulator)
    return f"gs://lookalike-tests/{uuid.uuid4().hex}"


@pytest.fixture
def gcs_proxy(
    fake_gcs: ModuleType, gcs_emulator: str, gcs_uri: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """A `FaultyProxy` before the emulator, without faults yet; stores opened after it go there."""
    proxy = fake_gcs.FaultyProxy(gcs_emulator, fake_gcs.Faults())
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.address)
    yield proxy
    proxy.close()
    # The client library forgets answers that it did not read to the end, with their sockets.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


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
