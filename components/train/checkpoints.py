"""Checkpoints: whole or absent, written while the training goes on.

A checkpoint is one `.npz` of plain arrays under stable names (no pickle), with the curves so far
in it, so that weights and curves cannot disagree.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
import threading
import zipfile
import zlib
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
_SUFFIX = ".npy"


class DamagedError(ValueError):
    """A file of arrays is not what was written; the message says how that shows."""


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


def read_arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Reads the plain arrays of an `.npz`, every byte of it checked.

    Raises:
        DamagedError: The file is truncated, a bit of it has changed, or it holds something else
            than plain arrays.
        OSError: It cannot be read; another try may read it.
    """
    whole = io.BytesIO(path.read_bytes())
    try:
        with zipfile.ZipFile(whole) as archive:
            # `np.load` stops where an array's header says, and so passes over the check sum where
            # the header is what was damaged.
            members = {name: archive.read(name) for name in archive.namelist()}
        return {
            name.removesuffix(_SUFFIX): np.lib.format.read_array(
                io.BytesIO(data), allow_pickle=False
            )
            for name, data in members.items()
        }
    # What zipfile raises depends on the bit: for a changed flag the file is "encrypted", or
    # compressed in a way that there is not.
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        IndexError,
        KeyError,
        RuntimeError,
        ValueError,
    ) as error:
        raise DamagedError(str(error) or type(error).__name__) from None


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
        """Reads the newest checkpoint that is whole, if there is one.

        A damaged one is told on standard error and passed over. All workers of a group come to
        the same checkpoint, as what they read is the same.

        Raises:
            InputError: The newest cannot be read at all, or there are some and none is whole.
        """
        damaged: list[str] = []
        for step in reversed(self._steps()):
            path = self._path(step)
            try:
                found = _read(path, step)
            except DamagedError as error:
                damaged.append(f"{path}: expected a checkpoint, received a damaged file ({error})")
                continue
            except OSError as error:
                # It may be whole: the others of the group may well have read it.
                raise InputError(
                    f"{path}: expected a checkpoint that can be read ({error}); run the step "
                    "again when the disk is well"
                ) from None
            for words in damaged:
                print(
                    f"train: {words}; going on from the one before, of step {step}",
                    file=sys.stderr,
                    flush=True,
                )
            return found
        if damaged:
            raise InputError(
                f"{damaged[0]}; none of the {len(damaged)} in {self._directory} is whole: remove "
                "them to train from the beginning"
            )
        return None

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
            steps = self._steps()
            # A later one than this was damaged, or the run would have gone on from it; it must not
            # count among the kept, where it would take the place of a whole one.
            later = [other for other in steps if other > step]
            for old in (*steps[: len(steps) - len(later)][: -self._keep], *later):
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


def _read(path: Path, step: int) -> Checkpoint:
    arrays = read_arrays(path)
    try:
        history = json.loads(arrays.pop(_HISTORY).tobytes())
    except (KeyError, ValueError) as error:
        raise DamagedError(f"no curves in it: {error}") from None
    return Checkpoint(step, arrays, history)
