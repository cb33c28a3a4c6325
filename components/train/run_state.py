"""What a run goes on from: every variable under a name that never changes, and the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.contracts.errors import InputError
from components.train.checkpoints import Checkpoints
from components.train.exchange import FiguresOverWorkers

_EPOCH = "epoch"


class RunState:
    """The variables of a run, on their way to checkpoints and back."""

    def __init__(
        self,
        network: keras.Model,
        heads: Sequence[keras.layers.Layer],
        optimizer: keras.optimizers.Optimizer,
        checkpoints: Checkpoints,
    ) -> None:
        """Names the variables; the optimiser must be built."""
        self._checkpoints = checkpoints
        self._variables = {variable.path: variable for variable in network.weights}
        self._statistics = network.non_trainable_variables
        for head in heads:
            self._variables |= {variable.path: variable for variable in head.weights}
        for number, variable in enumerate(optimizer.variables):
            self._variables[f"optimizer/{number}"] = variable

    def save(
        self,
        step: int,
        history: Sequence[Mapping[str, Any]],
        epoch: npt.NDArray[np.float64],
    ) -> None:
        """Copies the variables; the file is written while the training goes on.

        Args:
            step: Optimiser steps done.
            history: One record an epoch.
            epoch: What the epoch under way came to so far, see `components.train.epoch`.
        """
        arrays = {name: np.array(variable.numpy()) for name, variable in self._variables.items()}
        self._checkpoints.save(step, {**arrays, _EPOCH: epoch}, history)

    def share_statistics(
        self, strategy: tf.distribute.Strategy, over_workers: FiguresOverWorkers
    ) -> None:
        """Makes the moving statistics of normalisation the mean of all workers'.

        A worker that normalises its own part of the batch has statistics of its own, which the
        catalog views go by while training. A checkpoint holds one worker's; so that a run that
        goes on from it has what it would have had, all have the same ones then. Every worker has
        to call it.

        Args:
            strategy: How the workers are joined.
            over_workers: What `figures_over_workers` returned.
        """
        if strategy.num_replicas_in_sync == 1:
            return
        values = [variable.numpy().astype(np.float64) for variable in self._statistics]
        *sums, workers = over_workers(np.concatenate([*(v.ravel() for v in values), [1.0]]))
        parts = np.split(np.array(sums) / workers, np.cumsum([value.size for value in values])[:-1])
        with strategy.scope():
            for variable, value, part in zip(self._statistics, values, parts, strict=True):
                variable.assign(part.reshape(value.shape))

    def wait(self) -> None:
        """Waits until what was saved lies on the disk."""
        self._checkpoints.wait()

    def restore(
        self, strategy: tf.distribute.Strategy
    ) -> tuple[int, list[dict[str, Any]], npt.NDArray[np.float64] | None]:
        """Takes up the newest checkpoint, if there is one.

        Returns:
            The steps done, one record an epoch, and what the epoch under way came to so far; 0,
            none and None without a checkpoint.

        Raises:
            InputError: It belongs to another network, or cannot be read.
        """
        saved = self._checkpoints.latest()
        if saved is None:
            return 0, [], None
        arrays = dict(saved.arrays)
        epoch = arrays.pop(_EPOCH, None)
        fitting = {
            name: array
            for name, array in arrays.items()
            if name in self._variables and array.shape == tuple(self._variables[name].shape)
        }
        if len(fitting) != len(self._variables) or len(fitting) != len(arrays):
            raise InputError(
                f"the checkpoint of step {saved.step} belongs to another network: expected "
                f"{len(self._variables)} arrays, {len(fitting)} of its {len(arrays)} fit; "
                "give an empty directory for checkpoints"
            )
        with strategy.scope():
            for name, variable in self._variables.items():
                variable.assign(fitting[name])
        begun = None if epoch is None else np.asarray(epoch, np.float64)
        return saved.step, list(saved.history), begun
