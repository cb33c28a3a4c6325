"""A training worker that writes down when each of its steps begins, and may be stopped meanwhile.

    STEP_LOG=FILE python tests/benchmarks/timed_worker.py --spec FILE

For `bench_training.py workers`, which lets groups of workers take turns by SIGSTOP and SIGCONT.
"""

from __future__ import annotations

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


if __name__ == "__main__":
    sys.exit(main())
