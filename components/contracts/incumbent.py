"""How the pipeline's parameters name the incumbent: a version, or one of two words.

A KFP parameter cannot be absent, so "none" stands for what the contracts write as an empty version.
"""

from __future__ import annotations

LIVE = "live"
"""What the channel points to when the run starts."""

NONE = "none"
"""There is nothing to compare with."""


def version_of(parameter: str) -> str:
    """Returns the incumbent's version; empty when there is none."""
    return "" if parameter == NONE else parameter
