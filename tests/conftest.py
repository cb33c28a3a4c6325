"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def dev_mini() -> Path:
    """The quick-start catalog that ships with the repository."""
    return Path(__file__).parent / "data" / "dev-mini"
