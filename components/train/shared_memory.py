"""Sums over the workers of one machine, through memory that all of them map.

gRPC copies a message half a dozen times and allocates it in pieces; between processes on loopback
that costs a fifth of a training step. Here each worker writes its numbers once and reads the
others' once, as float32: nothing is rounded on the way.
"""

from __future__ import annotations

import math
import mmap
import os
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# The descriptor of the group's memory, which the local launcher hands to its workers.
MEMORY_VARIABLE = "LOOKALIKE_TRAIN_MEMORY"

_Array = npt.NDArray[np.float32]

# Tensors that begin here are taken as they are, without a copy (EIGEN_MAX_ALIGN_BYTES); and a
# processor's caches share nothing smaller between cores.
_LINE = 64
_NUMBERS = _LINE // 4
_POLL_SECONDS = 50e-6


def group_memory() -> int:
    """Returns the descriptor of new memory for a group, empty as yet; to be closed by the caller.

    It lies on no file system, so that neither a small `/dev/shm` nor a crash is a trouble: it is
    gone with the last process that holds it.
    """
    return os.memfd_create("lookalike-train")


class SharedSums:
    """Adds up arrays of all workers; every one calls it equally often, with the same shapes.

    A worker writes into one half of its place and says so by the number of the round. The other
    half is what the others may still read from the round before: nobody begins a round before all
    have written theirs of the last, and has thereby read the one before that.
    """

    def __init__(
        self, descriptor: int, *, worker: int, workers: int, shapes: Sequence[Sequence[int]]
    ) -> None:
        """Maps the memory.

        Args:
            descriptor: From `group_memory`; no group has used it before.
            worker: Number of this worker.
            workers: How many there are, at least 2.
            shapes: Of the arrays.
        """
        self._worker, self._workers = worker, workers
        self._shapes = [tuple(shape) for shape in shapes]
        self._places: list[slice] = []
        size = 0
        for shape in self._shapes:
            count = math.prod(shape)
            self._places.append(slice(size, size + count))
            size += -(-count // _NUMBERS) * _NUMBERS
        self._size = size
        header = workers * _LINE
        length = header + workers * 2 * size * 4
        # All grow it to the same length; what is there stays.
        os.ftruncate(descriptor, length)
        memory = mmap.mmap(descriptor, length)
        counters = np.frombuffer(memory, np.int64, workers * _LINE // 8)
        self._written = counters.reshape(workers, _LINE // 8)[:, 0]
        numbers = np.frombuffer(memory, np.float32, offset=header)
        self._numbers = numbers.reshape(workers, 2, size)
        self._round = 0

    def __call__(self, *arrays: _Array) -> list[_Array]:
        """Returns the sums over all workers, as every worker gets them, to the last bit.

        Waits until all have brought theirs; it is the launcher's to notice that one never will.

        Args:
            arrays: float32, of the shapes told.
        """
        self._round += 1
        half = self._round % 2
        own = self._numbers[self._worker, half]
        for place, array in zip(self._places, arrays, strict=True):
            own[place] = array.reshape(-1)
        # Processors of this kind (x86-64) show others their writes in the order they were made.
        self._written[self._worker] = self._round
        while self._written.min() < self._round:
            time.sleep(_POLL_SECONDS)
        total = _aligned(self._size)
        np.add(self._numbers[0, half], self._numbers[1, half], out=total)
        for other in self._numbers[2:, half]:
            total += other
        return [
            total[place].reshape(shape)
            for place, shape in zip(self._places, self._shapes, strict=True)
        ]


def _aligned(size: int) -> _Array:
    """Returns memory for so many numbers that begins at a multiple of a line."""
    room = np.empty(size + _NUMBERS, np.float32)
    first = -room.ctypes.data % _LINE // 4
    return room[first : first + size]
