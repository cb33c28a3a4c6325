"""A training worker that writes down when each of its steps begins, and may be stopped meanwhile.

    STEP_LOG=FILE [CACHED=1] python tests/benchmarks/timed_worker.py --spec FILE

For `bench_training.py`, which lets groups of workers take turns by SIGSTOP and SIGCONT. With CACHED
the worker trains on its first batch again and again.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

from components.train import heartbeat, worker  # noqa: E402

_HOUR_MILLISECONDS = 3_600_000


def main() -> int:
    """Trains as `python -m components.train` does."""
    at = heartbeat.Heartbeat.at
    with Path(os.environ["STEP_LOG"]).open("a", buffering=1, encoding="ascii") as log:

        def timed(self: heartbeat.Heartbeat, step: int, phase: heartbeat.Phase) -> None:
            if phase == "reading":
                log.write(f"{time.monotonic()}\n")
            at(self, step, phase)

        heartbeat.Heartbeat.at = timed  # type: ignore[method-assign]
        _be_patient()
        if os.environ.get("CACHED"):
            _train_on_one_batch()
        return worker.main()


def _be_patient() -> None:
    """Takes a group that is stopped for another's turn for alive; of no cost when it runs."""
    from tensorflow.python.distribute import collective_all_reduce_strategy
    from tensorflow.python.eager import context

    collective_all_reduce_strategy.CollectiveAllReduceExtended._enable_check_health = False
    configure = context.Context.configure_coordination_service

    def patient(self: Any, *arguments: Any, **options: Any) -> None:
        configure(self, *arguments, **options | {"heartbeat_timeout_in_ms": _HOUR_MILLISECONDS})

    context.Context.configure_coordination_service = patient


def _train_on_one_batch() -> None:
    """Leaves the pipeline, and what it takes of the cores, out of the training."""
    from components.train.loop import Trainer

    real = Trainer._batches

    def one_batch(self: Trainer, input_size: int) -> Any:
        return itertools.repeat(next(real(self, input_size)))

    Trainer._batches = one_batch  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main())
