"""How many processors there are to use: fewer than the machine has in a container or a cpuset."""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_processors(quota: Path = _QUOTA) -> int:
    """Returns how many processors this process may keep busy, at least 1.

    Args:
        quota: The container's limit as Linux tells it (control groups, version 2): microseconds of
            each period, or `max`.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        if allowed != "max":
            cores = min(cores, int(allowed) // int(period))
    except (OSError, ValueError):
        # No control groups, or those of the first version: the affinity is all that is known.
        pass
    return max(1, cores)
