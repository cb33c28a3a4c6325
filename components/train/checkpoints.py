"""Checkpoints: whole or absent, written while the training goes on.

A checkpoint is one `.npz` of plain arrays under stable names (no pickle), with the curves so far
in it, so that weights and curves cannot disagree.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.errors import InputError

Arrays = Mapping[str, npt.NDArray[np.generic]]
_NAME = re.compile(r"checkpoint-(\d{9})\.npz")
_HISTORY = "history_json"


@dataclass(frozen=True)
class Checkpoint:
    """What a run goes on from.

    Attributes:
        step: Optimiser steps done.
        arrays: The variables by name.
        history: One record an epoch.
    """

    step: int
    arrays: Arrays
    history: list[dict[str, Any]]


class Checkpoints:
    """The checkpoints of one run, in a directory."""

    def __init__(self, directory: Path, *, keep: int) -> None:
        """Makes no file yet.

        Args:
            directory: Where they are kept.
            keep: How many of the newest stay.
        """
        self._directory = directory
        self._keep = keep
        self._writer: threading.Thread | None = None
        self._problem: Exception | None = None

    def save(self, step: int, arrays: Arrays, history: Sequence[Mapping[str, Any]]) -> None:
        """Starts to write a checkpoint; the training goes on meanwhile.

        Args:
            step: Optimiser steps done.
            arrays: The variables by name; the caller hands them over and changes them no more.
            history: One record an epoch.

        Raises:
            OSError: The checkpoint before this one could not be written.
        """
        self.wait()
        document = np.frombuffer(json.dumps(list(history)).encode(), np.uint8)
        whole = {**arrays, _HISTORY: document}
        self._writer = threading.Thread(
            target=self._write, args=(step, whole), name="checkpoint", daemon=False
        )
        self._writer.start()

    def wait(self) -> None:
        """Waits until what was saved lies on the disk.

        Raises:
            OSError: It could not be written.
        """
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise problem

    def latest(self) -> Checkpoint | None:
        """Reads the newest checkpoint, if there is one.

        Raises:
            InputError: It cannot be read.
        """
        steps = self._steps()
        if not steps:
            return None
        path = self._path(steps[-1])
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            history = json.loads(arrays.pop(_HISTORY).tobytes())
        except (OSError, ValueError, EOFError, KeyError) as error:
            raise InputError(
                f"{path}: expected a checkpoint ({error}); remove it to go on from the one before"
            ) from None
        return Checkpoint(steps[-1], arrays, history)

    def _write(self, step: int, arrays: Arrays) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._directory, prefix=".checkpoint.")
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez(file, allow_pickle=False, **arrays)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self._path(step))
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            for old in self._steps()[: -self._keep]:
                self._path(old).unlink(missing_ok=True)
        except Exception as error:
            # Told to the training thread by `wait`.
            self._problem = error

    def _path(self, step: int) -> Path:
        return self._directory / f"checkpoint-{step:09d}.npz"

    def _steps(self) -> list[int]:
        if not self._directory.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self._directory.iterdir())
        return sorted(int(match[1]) for match in matches if match)
