"""One training process: `python -m components.train --spec FILE`.

The launcher starts one a worker, with `TF_CONFIG` naming the group. A worker whose launcher is
gone ends at once: it watches a pipe that only the launcher holds open. Told to stop (SIGTERM), a
worker tells the others in the step under way; the first one saves after it, and all end.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.contracts.errors import LookalikeError
from components.contracts.files import read_json, write_json
from components.contracts.processors import available_processors
from components.train.config import TrainConfig
from components.train.labels import LabelSpace
from components.train.shared_memory import MEMORY_VARIABLE

if TYPE_CHECKING:
    import tensorflow as tf

WATCH_VARIABLE = "LOOKALIKE_TRAIN_WATCH"
# What the first worker leaves.
WEIGHTS_FILE = "weights.npz"
HISTORY_FILE = "history.json"
# Exit code (EX_TEMPFAIL): nothing is wrong here, the group may go on from what is saved.
TRY_AGAIN = 75
# A worker whose peer is gone fails in one of these; what is wrong is told by the peer.
_PEER_ERRORS = ("AbortedError", "CancelledError", "DeadlineExceededError", "UnavailableError")
_PATIENCE_SECONDS = 25.0
_PEER_SECONDS = 10.0


@dataclass(frozen=True)
class Spec:
    """What every worker of a group is told.

    Attributes:
        examples: The examples directory.
        checkpoints: Where checkpoints, and the workers' signs of life, are kept.
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

    @property
    def heartbeats(self) -> Path:
        """Where the workers say that they are alive."""
        return self.checkpoints / "heartbeats"

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
    parser = argparse.ArgumentParser(prog="python -m components.train")
    parser.add_argument("--spec", type=Path, required=True, help="the file that the launcher wrote")
    options = parser.parse_args(arguments)
    _end_with_launcher()
    stop = _stop_on_sigterm()
    try:
        spec = Spec.read(options.spec)
        _limit_threads(spec.config)
        train(spec, stop=stop)
    except LookalikeError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        if type(error).__name__ in ("PreemptedError", "OutOfStepError"):
            return TRY_AGAIN
        if type(error).__name__ == "PeerBrokeError":
            return _end_after_the_peer()
        return error.exit_code
    except Exception as error:
        if type(error).__name__ not in _PEER_ERRORS:
            raise
        print(f"a worker of the group is gone ({type(error).__name__})", file=sys.stderr)
        return _end_after_the_peer()
    return 0


def _end_after_the_peer() -> int:
    """Returns the exit code of a worker that ends because of another one."""
    if WATCH_VARIABLE not in os.environ:
        # In a cluster the first worker that ends ends the job, and is the one that is asked why.
        time.sleep(_PEER_SECONDS)
    return TRY_AGAIN


def train(spec: Spec, *, stop: threading.Event | None = None) -> None:
    """Trains one worker's share; the first worker leaves the weights and the history.

    Args:
        spec: What to train.
        stop: Asks the group to save and end.
    """
    # TensorFlow is imported after the launcher is watched: the import takes seconds.

    from components.train.heartbeat import Heartbeat  # noqa: PLC0415
    from components.train.loop import Trainer  # noqa: PLC0415
    from components.train.weights import save_weights  # noqa: PLC0415

    group = json.loads(os.environ.get("TF_CONFIG", "{}"))
    cluster, number = _place_in(group)
    strategy = _join(cluster, number)
    heartbeat = Heartbeat(spec.heartbeats, number)
    try:
        trainer = Trainer(
            examples=spec.examples,
            checkpoints=spec.checkpoints,
            config=spec.config,
            labels=spec.labels,
            strategy=strategy,
            worker=number,
            initial_weights=spec.initial_weights,
            stop=stop,
            heartbeat=heartbeat,
            memory=_memory(strategy),
        )
        history = trainer.run()
        if trainer.is_chief:
            save_weights(spec.output / WEIGHTS_FILE, trainer.network, trainer.heads, spec.labels)
            # Written last: the launcher takes it as the sign that the weights are whole.
            write_json(spec.output / HISTORY_FILE, history)
    finally:
        heartbeat.end()


def _place_in(group: dict[str, Any]) -> tuple[list[str], int]:
    """Returns the addresses of a group's workers, and which one this is.

    Vertex AI calls the first worker the chief and counts the others from 0 again.
    """
    addresses = group.get("cluster", {})
    chief, workers = addresses.get("chief", []), addresses.get("worker", [])
    task = group.get("task", {})
    number = int(task.get("index", 0))
    return [*chief, *workers], number + (len(chief) if task.get("type") == "worker" else 0)


def _join(cluster: list[str], number: int) -> tf.distribute.Strategy:
    """Returns how this worker shares its gradients: with its group, its GPUs, or with nobody."""
    import tensorflow as tf  # noqa: PLC0415

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        # XLA fuses the many small kernels between the convolutions.
        tf.config.optimizer.set_jit("autoclustering")
    if len(cluster) <= 1:
        if len(gpus) > 1:
            return tf.distribute.MirroredStrategy()
        return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.UnknownError as error:
        # The port was free when the launcher chose it.
        print(f"cannot listen at {cluster[number]}: {error.message}", file=sys.stderr, flush=True)
        sys.exit(TRY_AGAIN)


def _memory(strategy: tf.distribute.Strategy) -> int | None:
    """Returns the descriptor of what this worker shares with the others, where it shares any."""
    import tensorflow as tf  # noqa: PLC0415

    descriptor = os.environ.get(MEMORY_VARIABLE)
    # Between GPUs NCCL is faster.
    if descriptor is None or tf.config.list_physical_devices("GPU"):
        return None
    return int(descriptor) if strategy.num_replicas_in_sync > 1 else None


def _limit_threads(config: TrainConfig) -> None:
    """Gives this process its share of the cores; before TensorFlow does anything else."""
    import tensorflow as tf  # noqa: PLC0415

    threads = config.threads or processors_of_a_worker(config)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    # One more lets the input pipeline and the collectives run beside the training step.
    tf.config.threading.set_inter_op_parallelism_threads(threads + 1)


def processors_of_a_worker(config: TrainConfig) -> int:
    """Returns how many processors a worker has to itself, at least 1."""
    # The local launcher starts all workers on one machine; elsewhere each has its own.
    sharing = config.workers if WATCH_VARIABLE in os.environ else 1
    return max(1, available_processors() // sharing)


def _stop_on_sigterm() -> threading.Event:
    """Returns an event that SIGTERM sets; a worker that nobody releases then ends by itself.

    A thread waits for the signal, which `components.train.__main__` has blocked everywhere else:
    TensorFlow puts a handler of its own there when it joins a group.
    """
    stop = threading.Event()

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        stop.set()
        time.sleep(_PATIENCE_SECONDS)
        os._exit(TRY_AGAIN)

    threading.Thread(target=wait, name="sigterm", daemon=True).start()
    return stop


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
