"""The training loop: one optimiser step under a distribution strategy, and the run around it."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from components.contracts.errors import LookalikeError
from components.contracts.progress import Progress
from components.train.checkpoints import Checkpoints
from components.train.config import TrainConfig
from components.train.data import (
    Parser,
    Statistics,
    leaf_repeats,
    training_batches,
    unseen_batches,
)
from components.train.encoder import encode
from components.train.event_log import EventLog
from components.train.exchange import SharedSGD, sum_over_workers
from components.train.heads import build_heads
from components.train.heartbeat import Heartbeat
from components.train.labels import LabelSpace
from components.train.losses import correct_and_known
from components.train.objective import Objective
from components.train.plan import Plan
from components.train.precision import resolve_precision
from components.train.resnet import build_resnet
from components.train.run_state import RunState
from components.train.schedule import cosine_with_warmup
from components.train.weights import load_weights

_IDS_SHOWN = 20


class PreemptedError(LookalikeError):
    """The run was told to stop, and has saved what it had."""


@dataclass
class Epoch:
    """Sums over the steps of an epoch, this worker's own."""

    sums: np.ndarray[Any, np.dtype[np.float64]]
    steps: int = 0
    waiting: float = 0.0
    exchanging: float = 0.0
    started: float = field(default_factory=time.monotonic)


class Trainer:
    """Trains one encoder; every worker of the group runs one."""

    def __init__(
        self,
        *,
        examples: Path,
        checkpoints: Path,
        config: TrainConfig,
        labels: LabelSpace,
        strategy: tf.distribute.Strategy,
        initial_weights: Path | None,
        worker: int = 0,
        stop: threading.Event | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        """Builds the network, its heads and the optimiser, and restores the last checkpoint.

        Args:
            examples: The examples directory.
            checkpoints: Where checkpoints are kept; a run that finds some goes on from the last.
            config: The parameters.
            labels: The classes.
            strategy: How the workers share their gradients.
            initial_weights: A `weights.npz` to start from, or None for random weights.
            worker: Number of this worker; the first one writes checkpoints.
            stop: Asks the first worker to save and end after the step under way.
            heartbeat: Is told what the worker does.

        Raises:
            InputError: The last checkpoint belongs to another network, or cannot be read.
        """
        self._stop = stop or threading.Event()
        self._heartbeat = heartbeat
        self.config = config
        self.labels = labels
        self.strategy = strategy
        self.statistics = Statistics.read(examples)
        self.plan = Plan.of(config, self.statistics.train)
        self._examples = examples
        self.is_chief = worker == 0
        self._parser = Parser(labels, self.statistics.stored_size)
        with strategy.scope():
            self.network = build_resnet(
                depth=config.depth,
                width=config.width,
                embedding_dim=config.embedding_dim,
                channel_mean=self.statistics.channel_mean,
                channel_std=self.statistics.channel_std,
                squeeze_excite=config.squeeze_excite,
                antialias=config.antialias,
                precision=resolve_precision(config.precision),
                sync_batch_norm=config.synchronizes_batch_norm,
                seed=config.seed,
            )
            self.heads = build_heads(labels, embedding_dim=config.embedding_dim, seed=config.seed)
            if initial_weights is not None:
                load_weights(initial_weights, self.network, self.heads, labels)
            self._variables = [
                *self.network.trainable_variables,
                *(variable for head in self.heads for variable in head.trainable_variables),
            ]
            self.optimizer = SharedSGD(
                config.learning_rate, momentum=config.momentum, nesterov=True
            )
            self.optimizer.build(self._variables)
        # Every worker reads the first worker's checkpoints, which alone writes them.
        self._events = EventLog(checkpoints / "tensorboard")
        self._state = RunState(
            self.network,
            self.heads,
            self.optimizer,
            Checkpoints(checkpoints, keep=config.checkpoints_kept),
        )
        self.step, self.history = self._state.restore(strategy)

    def run(self) -> list[dict[str, Any]]:
        """Trains to the end of the plan and returns one record an epoch."""
        total = self.plan.total_steps
        batch = self.config.batch_size
        with contextlib.ExitStack() as stack:
            progress = None
            if self.is_chief:
                counter = Progress("train", total=total * batch, unit="images")
                progress = stack.enter_context(counter)
                if self.step:
                    progress.advance(self.step * batch, note=f"resumed at step {self.step}")
            for size, end in (
                (self.config.early_input_size, self.plan.early_steps),
                (self.config.input_size, total),
            ):
                if self.step < end:
                    self._run_phase(size, end, progress)
        self._state.wait()
        self._events.close()
        return self.history

    def _run_phase(self, input_size: int, end: int, progress: Progress | None) -> None:
        """Trains with one image size up to the step `end`."""
        batches = self._batches(input_size)
        train_step = self._make_step()
        epoch = self._new_epoch()
        while self.step < end:
            self._at("reading")
            asked = time.monotonic()
            images, rows, ids = next(batches)
            epoch.waiting += time.monotonic() - asked
            rate = cosine_with_warmup(
                self.step,
                peak=self.config.learning_rate,
                warmup_steps=self.plan.warmup_steps,
                total_steps=self.plan.total_steps,
            )
            self._at("computing")
            sums = train_step(images, rows, tf.constant(rate, tf.float32)).numpy()
            self.step += 1
            if not math.isfinite(float(sums[0])):
                raise LookalikeError(self._not_a_number(rate, ids))
            epoch.sums += sums[:-1]
            epoch.exchanging += float(sums[-1])
            epoch.steps += 1
            if progress is not None:
                loss = sums[0] / self.config.batch_size
                progress.advance(self.config.batch_size, note=f"loss {loss:.3f}")
            if self.step % self.plan.steps_per_epoch == 0:
                self._end_epoch(epoch, rate, input_size)
                epoch = self._new_epoch()
            if self.is_chief and self._stop.is_set() and self.step < self.plan.total_steps:
                self.save()
                self._state.wait()
                raise PreemptedError(f"train: told to stop; saved at step {self.step}")

    def _not_a_number(self, rate: float, ids: tf.Tensor) -> str:
        """Returns what is known about a step whose loss is no number."""
        names = [
            name.decode(errors="replace")
            for part in self.strategy.experimental_local_results(ids)
            for name in part.numpy()
        ]
        shown = ", ".join(names[:_IDS_SHOWN])
        more = f" and {len(names) - _IDS_SHOWN} more" if len(names) > _IDS_SHOWN else ""
        return (
            f"train: the loss is not a number at step {self.step} (learning rate {rate:.4g}); "
            "lower train.learning_rate or set train.precision=float32, or look at this worker's "
            f"items of that step: {shown}{more}"
        )

    def _at(self, phase: Literal["reading", "computing", "saving"]) -> None:
        if self._heartbeat is not None:
            self._heartbeat.at(self.step, phase)

    def _new_epoch(self) -> Epoch:
        return Epoch(sums=np.zeros(1 + 2 * len(self.heads)))

    def _batches(self, input_size: int) -> Iterator[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        config = self.config
        repeats = None
        if config.class_balance:
            repeats = leaf_repeats(self._examples, self.labels, config.class_balance)

        def build(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return training_batches(
                self._examples,
                parser=self._parser,
                statistics=self.statistics,
                augmentation=config.augmentation,
                input_size=input_size,
                batch_size=context.get_per_replica_batch_size(config.batch_size),
                seed=config.seed,
                first_step=self.step,
                shard=context.input_pipeline_id,
                shards=context.num_input_pipelines,
                cache_megabytes=config.cache_megabytes,
                views_per_product=config.views_per_product,
                repeats=repeats,
            )

        dataset = self.strategy.distribute_datasets_from_function(build)
        batches: Iterator[tuple[tf.Tensor, tf.Tensor, tf.Tensor]] = iter(dataset)
        return batches

    def _make_step(self) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
        config, variables = self.config, self._variables
        objective = Objective(config, self.labels, self.heads)
        decayed = [len(variable.shape) > 1 for variable in variables]
        # The convolutions' gradients were computed in that precision; nothing else was.
        narrow = resolve_precision(config.precision) == "bfloat16"
        short = [narrow and len(variable.shape) == 4 for variable in variables]

        def replica_step(images: tf.Tensor, rows: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                vectors = self.network(tf.cast(images, tf.float32), training=True)
                loss, counts = objective(vectors, rows)
                # Gradients are summed over the replicas, so each divides by the global batch.
                mean = loss / config.batch_size
            gradients = tape.gradient(mean, [variable.value for variable in variables])
            sums = tf.concat([loss[None], counts], axis=0)
            summed, seconds = sum_over_workers([*gradients, sums], short=[*short, False])
            *gradients, sums = summed
            gradients = [
                gradient + config.weight_decay * variable.value if shrinks else gradient
                for gradient, variable, shrinks in zip(gradients, variables, decayed, strict=True)
            ]
            self.optimizer.learning_rate.assign(rate)
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return tf.concat([sums, seconds[None]], axis=0)

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def train_step(images: tf.Tensor, rows: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
            sums = self.strategy.run(replica_step, args=(images, rows, rate))
            # Every worker has the sums over all, and how long it waited for them itself.
            return self.strategy.experimental_local_results(sums)[0]

        step: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor] = train_step
        return step

    def _end_epoch(self, epoch: Epoch, rate: float, input_size: int) -> None:
        """Writes the epoch down, evaluates and saves where the plan says so."""
        number = self.step // self.plan.steps_per_epoch
        images = epoch.steps * self.config.batch_size
        seconds = time.monotonic() - epoch.started
        last = self.step == self.plan.total_steps
        record: dict[str, Any] = {
            "epoch": number,
            "loss": float(epoch.sums[0]) / images,
            "learning_rate": rate,
            "input_size": input_size,
            "images_per_second": images / seconds,
            "steps_per_second": epoch.steps / seconds,
            "input_stall_share": epoch.waiting / seconds,
            "scaling_efficiency": 1.0 - epoch.exchanging / seconds,
            "train": self._shares(epoch.sums[1:]),
        }
        self._at("saving")
        if self.is_chief and (last or number % self.config.evaluate_every == 0):
            record["unseen"] = self.evaluate_unseen()
        self.history.append(record)
        if self.is_chief:
            self._events.add(record, epochs=self.config.epochs)
        if last or number % self.config.checkpoint_every == 0:
            self.save()

    def save(self) -> None:
        """Saves a checkpoint, if this is the first worker; the file is written meanwhile."""
        if self.is_chief:
            self._state.save(self.step, self.history)

    def _shares(self, counts: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
        """Returns the share of right first guesses a head, leaving out heads without labels."""
        names = [*self.labels.level_names(), "product"]
        pairs = zip(names, counts.reshape(-1, 2), strict=True)
        return {name: float(right / known) for name, (right, known) in pairs if known}

    def evaluate_unseen(self) -> dict[str, float]:
        """Returns the share of right first guesses a level on the products held out."""
        counts = np.zeros(2 * len(self.heads))
        if self.statistics.unseen == 0:
            return {}
        for images, rows in unseen_batches(self._examples, parser=self._parser, batch_size=64):
            vectors = encode(
                self.network,
                images,
                input_size=self.config.input_size,
                flip_average=self.config.flip_average,
            )
            counts += np.array(
                [
                    float(count)
                    for column, head in enumerate(self.heads)
                    for count in correct_and_known(head(vectors), rows[:, column])
                ]
            )
        return self._shares(counts)
