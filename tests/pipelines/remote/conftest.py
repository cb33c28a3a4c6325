from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from components.contracts.errors import LookalikeError
from pipelines.cli.main import cli


def _load(name):
    specification = importlib.util.spec_from_file_location(
        name, Path(__file__).with_name(f"{name}.py")
    )
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


fake_backends = _load("fake_backends")


@pytest.fixture
def backends(monkeypatch):
    """A local server that speaks both APIs' paths and keeps what came."""
    monkeypatch.delenv("GITHUB_SHA", raising=False)
    monkeypatch.delenv("COMMIT_SHA", raising=False)
    known = fake_backends.Backends()
    server = fake_backends.serve(known)
    yield known
    server.shutdown()
    server.server_close()


@pytest.fixture
def lookalike():
    """Runs the command line within this process: `(exit code, stdout, message)`."""

    def run(*arguments):
        runner = CliRunner()
        try:
            result = runner.invoke(
                cli, [str(word) for word in arguments], catch_exceptions=False, standalone_mode=True
            )
        except LookalikeError as error:
            return error.exit_code, "", str(error)
        return result.exit_code, result.stdout, result.stderr

    return run
