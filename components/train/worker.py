"""One training process: `python -m components.train.worker --spec FILE`.

The launcher starts one a worker, with `TF_CONFIG` naming the group. A worker whose launcher is
gone ends at once: it watches a pipe that only the launcher holds open.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.contracts.errors import LookalikeError
from components.contracts.files import read_json, write_json
from components.train.config import TrainConfig
from components.train.labels import LabelSpace

WATCH_VARIABLE = "LOOKALIKE_TRAIN_WATCH"


@dataclass(frozen=True)
class Spec:
    """What every worker of a group is told.

    Attributes:
        examples: The examples directory.
        checkpoints: Where checkpoints are kept.
        output: Where the first worker leaves `weights.npz` and `history.json`.
        initial_weights: A `weights.npz` to start from, or None.
        config: The parameters.
        labels: The classes.
    """

    examples: Path
    checkpoints: Path
    output: Path
    initial_weights: Path | None
    config: TrainConfig
    labels: LabelSpace

    def write(self, path: Path) -> None:
        """Writes the file that `--spec` names."""
        initial = self.initial_weights
        values: dict[str, Any] = {
            "examples": str(self.examples),
            "checkpoints": str(self.checkpoints),
            "output": str(self.output),
            "initial_weights": None if initial is None else str(initial),
            "config": self.config.to_mapping(),
            "labels": self.labels.to_mapping(),
        }
        write_json(path, values)

    @classmethod
    def read(cls, path: Path) -> Spec:
        """Reads what `write` wrote."""
        values = read_json(path)
        initial = values["initial_weights"]
        return cls(
            examples=Path(values["examples"]),
            checkpoints=Path(values["checkpoints"]),
            output=Path(values["output"]),
            initial_weights=None if initial is None else Path(initial),
            config=TrainConfig.from_mapping(values["config"]),
            labels=LabelSpace.from_mapping(values["labels"]),
        )


def main(arguments: list[str] | None = None) -> int:
    """Trains as told by the spec file; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m components.train.worker")
    parser.add_argument("--spec", type=Path, required=True, help="the file that the launcher wrote")
    options = parser.parse_args(arguments)
    _end_with_launcher()
    try:
        spec = Spec.read(options.spec)
        _limit_threads(spec.config)
        train(spec)
    except LookalikeError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def train(spec: Spec) -> None:
    """Trains one worker's share; the first worker leaves the weights and the history."""
    # TensorFlow is imported after the launcher is watched: the import takes seconds.
    import tensorflow as tf  # noqa: PLC0415

    from components.train.loop import Trainer  # noqa: PLC0415
    from components.train.weights import save_weights  # noqa: PLC0415

    cluster = json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {}).get("worker", [])
    strategy = (
        tf.distribute.MultiWorkerMirroredStrategy()
        if len(cluster) > 1
        else tf.distribute.OneDeviceStrategy("/cpu:0")
    )
    trainer = Trainer(
        examples=spec.examples,
        checkpoints=spec.checkpoints,
        config=spec.config,
        labels=spec.labels,
        strategy=strategy,
        initial_weights=spec.initial_weights,
    )
    history = trainer.run()
    if trainer.is_chief:
        save_weights(spec.output / "weights.npz", trainer.network, trainer.heads, spec.labels)
        # Written last: the launcher takes it as the sign that the weights are whole.
        write_json(spec.output / "history.json", history)


def _limit_threads(config: TrainConfig) -> None:
    """Gives this process its share of the cores; before TensorFlow does anything else."""
    import tensorflow as tf  # noqa: PLC0415

    threads = config.threads or max(1, _cores() // config.workers)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    # One more lets the input pipeline and the collectives run beside the training step.
    tf.config.threading.set_inter_op_parallelism_threads(threads + 1)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_launcher() -> None:
    """Ends this process when the launcher's end of the pipe closes, however that came about."""
    descriptor = os.environ.get(WATCH_VARIABLE)
    if descriptor is None:
        return

    def watch() -> None:
        while os.read(int(descriptor), 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="launcher-watch", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
