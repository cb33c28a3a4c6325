"""Which GPUs a group on this machine has, and which worker gets which."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from components.contracts.errors import InputError

GPUS_VARIABLE = "CUDA_VISIBLE_DEVICES"
_GPU = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")


def visible_gpus(
    environment: Mapping[str, str],
    *,
    driver: Path = Path("/proc/driver/nvidia/gpus"),
    devices: Path = Path("/dev"),
) -> list[str]:
    """Returns what this process may use, in the words of CUDA_VISIBLE_DEVICES.

    Asked of the driver and not of TensorFlow, which would take hold of them.

    Args:
        environment: Variables by name; CUDA_VISIBLE_DEVICES has the last word.
        driver: Where NVIDIA's driver lists the machine's GPUs.
        devices: Where those are that may be opened, each `nvidia` with a number.
    """
    told = environment.get(GPUS_VARIABLE)
    if told is not None:
        names = [name.strip() for name in told.split(",")]
        # CUDA reads up to the first name that it does not know: -1 and nothing mean no GPU.
        usable = [_GPU.fullmatch(name) is not None for name in names]
        return names[: usable.index(False)] if False in usable else names
    listed = len(list(driver.iterdir())) if driver.is_dir() else 0
    # A container sees all of the machine's in /proc, and may open those in /dev.
    opened = [path for path in devices.glob("nvidia*") if path.name[len("nvidia") :].isdecimal()]
    return [str(number) for number in range(min(listed, len(opened)))]


def usable_gpus(environment: Mapping[str, str]) -> list[str]:
    """Returns those of `visible_gpus` that this installation of TensorFlow can compute on."""
    found = visible_gpus(environment)
    if found:
        # Loaded only where there is something to ask: it takes seconds.
        import tensorflow as tf  # noqa: PLC0415

        if not tf.config.list_physical_devices("GPU"):
            return []
    return found


def workers_for(gpus: Sequence[str], *, workers: int, batch_size: int) -> int:
    """Returns how many workers to start: not more than there are GPUs, where there are any.

    Args:
        gpus: The names of all.
        workers: How many are asked for.
        batch_size: Examples a step; the workers share it out evenly.
    """
    if not gpus or workers <= len(gpus):
        return workers
    return max(n for n in range(1, len(gpus) + 1) if batch_size % n == 0)


def share_gpus(gpus: Sequence[str], workers: int) -> list[list[str]]:
    """Shares GPUs out: each worker gets every n-th, and all get the same number.

    Args:
        gpus: The names of all.
        workers: How many share them.

    Returns:
        The names for each worker; empty ones where there is no GPU.

    Raises:
        InputError: There are GPUs, but fewer than workers.
    """
    if gpus and len(gpus) < workers:
        raise InputError(
            f"train.workers: expected at most {len(gpus)} workers (one a GPU), received "
            f"{workers}; set train.workers={len(gpus)}, or {GPUS_VARIABLE} to nothing to train on "
            "the processor"
        )
    each = len(gpus) // workers
    return [list(gpus[worker::workers])[:each] for worker in range(workers)]
