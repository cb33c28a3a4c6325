"""What an epoch came to, on one worker; kept across a restart in its middle."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.train.optimizer_step import StepResult

_Figures = npt.NDArray[np.float64]


@dataclass
class Epoch:
    """Sums over the steps of an epoch.

    Attributes:
        sums: This worker's sums of `StepResult.sums`, float64 `[1 + 2 heads]`.
        steps: Steps so far.
        waiting: Seconds of waiting for input.
        exchanging: Seconds of waiting for the other workers' gradients.
        started: When it began, in seconds of the monotonic clock.
    """

    sums: _Figures
    steps: int = 0
    waiting: float = 0.0
    exchanging: float = 0.0
    started: float = 0.0

    @classmethod
    def begin(cls, heads: int) -> Epoch:
        """Returns an epoch without a step, which begins now."""
        return cls(np.zeros(1 + 2 * heads), started=time.monotonic())

    def add(self, result: StepResult, *, waited: float) -> None:
        """Counts a step, and the seconds that it waited for its batch."""
        self.sums += result.sums
        self.steps += 1
        self.waiting += waited
        self.exchanging += result.exchange_seconds

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.started

    def saved(self, sums: _Figures) -> _Figures:
        """Returns what `resumed` reads back.

        Args:
            sums: Those of all workers together.

        Returns:
            float64 `[4 + sums]`.
        """
        return np.array([self.steps, self.waiting, self.exchanging, self.seconds, *sums])

    @classmethod
    def resumed(cls, saved: _Figures, *, first: bool) -> Epoch:
        """Goes on where `saved` was taken.

        Args:
            saved: What `saved` returned.
            first: Whether this is the first worker, which takes the sums of all upon itself.
        """
        steps, waiting, exchanging, seconds, *sums = saved.tolist()
        return cls(
            sums=np.array(sums) if first else np.zeros(len(sums)),
            steps=int(steps),
            waiting=waiting,
            exchanging=exchanging,
            started=time.monotonic() - seconds,
        )

    def record(
        self,
        sums: _Figures,
        *,
        number: int,
        batch_size: int,
        learning_rate: float,
        input_size: int,
        shares: Callable[[_Figures], dict[str, float]],
    ) -> dict[str, Any]:
        """Returns what the curves say of this epoch.

        Args:
            sums: Those of all workers together.
            number: Counted from 1.
            batch_size: Examples a step, over all workers.
            learning_rate: That of its last step.
            input_size: Height and width of its images, in pixels.
            shares: Names counts of right first guesses and of known labels.
        """
        images, seconds = self.steps * batch_size, self.seconds
        return {
            "epoch": number,
            "loss": float(sums[0]) / images,
            "learning_rate": learning_rate,
            "input_size": input_size,
            "images_per_second": images / seconds,
            "steps_per_second": self.steps / seconds,
            "input_stall_share": self.waiting / seconds,
            "scaling_efficiency": 1.0 - self.exchanging / seconds,
            "train": shares(sums[1:]),
        }
