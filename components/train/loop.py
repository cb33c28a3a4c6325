"""The training loop: a run of optimiser steps, with its curves, checkpoints and evaluations."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.contracts.errors import LookalikeError
from components.contracts.progress import Progress
from components.train.checkpoints import Checkpoints
from components.train.config import TrainConfig
from components.train.data import (
    Parser,
    Statistics,
    Views,
    class_repeats,
    input_threads,
    training_batches,
    unseen_batches,
)
from components.train.encoder import encode
from components.train.epoch import Epoch
from components.train.event_log import EventLog
from components.train.exchange import SharedSGD, figures_over_workers
from components.train.foreground import build_foreground_head, with_features
from components.train.heads import build_heads
from components.train.heartbeat import Heartbeat, Phase
from components.train.labels import LabelSpace
from components.train.losses import correct_and_known
from components.train.objective import Objective
from components.train.optimizer_step import FLAGS, Step, make_step
from components.train.plan import Plan
from components.train.precision import resolve_precision
from components.train.resnet import build_resnet
from components.train.run_state import RunState
from components.train.schedule import cosine_with_warmup
from components.train.shared_memory import SharedSums
from components.train.weights import load_weights
from components.train.worker import processors_of_a_worker

_IDS_SHOWN = 20
# A tenth of what one core does from memory: a disk may be slow.
_READ_OVER_A_SECOND = 1000
_TELL_SECONDS = 5.0


class PreemptedError(LookalikeError):
    """The run was told to stop, and has saved what it had."""


class PeerBrokeError(LookalikeError):
    """Another worker's loss is not a number; that worker says more."""


class OutOfStepError(LookalikeError):
    """The workers do not see the same newest checkpoint; a moment later they may."""


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
        memory: int | None = None,
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
            stop: Asks the group to save and end after the step under way, whichever worker is
                told; the others learn it in that step.
            heartbeat: Is told what the worker does.
            memory: Descriptor of the memory that the workers share, see `group_memory`; None
                where they are not on one machine, or have several devices each.

        Raises:
            InputError: The batch cannot be shared out over the devices, or the last checkpoint
                belongs to another network or cannot be read.
            OutOfStepError: Other workers found another checkpoint than this one.
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
        replicas = strategy.num_replicas_in_sync
        config.check_devices(replicas)
        self._replicas_here = len(strategy.extended.worker_devices)
        self._over_workers = figures_over_workers(strategy)
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
                sync_batch_norm=config.synchronizes_batch_norm(replicas),
                seed=config.seed,
            )
            self.heads = build_heads(labels, embedding_dim=config.embedding_dim, seed=config.seed)
            if initial_weights is not None:
                load_weights(initial_weights, self.network, self.heads, labels)
            self._foreground = (
                build_foreground_head(with_features(self.network), seed=config.seed)
                if config.foreground_weight
                else None
            )
            # In checkpoints, and not in what a warm start goes on from: it is learnt in no time.
            trained_heads: list[keras.layers.Layer] = [*self.heads]
            if self._foreground is not None:
                trained_heads.append(self._foreground)
            self._variables = [
                *self.network.trainable_variables,
                *(variable for head in trained_heads for variable in head.trainable_variables),
            ]
            self.optimizer = SharedSGD(
                config.learning_rate, momentum=config.momentum, nesterov=True
            )
            self.optimizer.build(self._variables)
        # Once for the run, whose phases go on with the same rounds.
        self._memory = (
            None
            if memory is None
            else SharedSums(
                memory,
                worker=worker,
                workers=replicas,
                shapes=[*(variable.shape for variable in self._variables), (FLAGS,)],
            )
        )
        # Every worker reads the first worker's checkpoints, which alone writes them.
        self._events = EventLog(checkpoints / "tensorboard")
        self._state = RunState(
            self.network,
            trained_heads,
            self.optimizer,
            Checkpoints(checkpoints, keep=config.checkpoints_kept),
        )
        self.step, self.history, begun = self._state.restore(strategy)
        # All are at one step where the square of the mean is the mean of the squares.
        steps, squares, workers = self._over_workers(np.array([self.step, self.step**2, 1.0]))
        if steps * steps != squares * workers:
            raise OutOfStepError(
                f"train: the workers found checkpoints of different steps, this one of step "
                f"{self.step}; starting again, when all see the newest"
            )
        self._epoch = (
            Epoch.begin(len(self.heads))
            if begun is None
            else Epoch.resumed(begun, first=self.is_chief)
        )

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
                    # The run may have ended between a checkpoint and the evaluation after it.
                    if self._evaluate_if_due():
                        self._events.add(self.history[-1], epochs=self.config.epochs)
            for size, end in (
                (self.config.early_input_size, self.plan.early_steps),
                (self.config.input_size, total),
            ):
                if self.step < end:
                    self._run_phase(size, end, progress)
        self._at("saving")
        self._state.wait()
        self._events.close()
        return self.history

    def _run_phase(self, input_size: int, end: int, progress: Progress | None) -> None:
        """Trains with one image size up to the step `end`."""
        self._at("reading")
        batches = self._batches(input_size)
        step = self._make_step()
        # Every stream begins with what the run has seen already, which is read over.
        unread = self.step * self._own_batch
        # A run that goes on in the middle of an epoch has its clock running already.
        if not self._epoch.steps:
            self._epoch = Epoch.begin(len(self.heads))
        while self.step < end:
            self._at("reading")
            asked = time.monotonic()
            if unread:
                with self._signs_of_life(unread):
                    views, rows, ids = next(batches)
                unread = 0
            else:
                views, rows, ids = next(batches)
            waited = time.monotonic() - asked
            rate = cosine_with_warmup(
                self.step,
                peak=self.config.learning_rate,
                warmup_steps=self.plan.warmup_steps,
                total_steps=self.plan.total_steps,
            )
            self._at("computing")
            result = step(views, rows, rate, self._stop.is_set())
            self.step += 1
            if result.broken_here:
                raise LookalikeError(self._not_a_number(rate, ids))
            if result.broken:
                raise PeerBrokeError(
                    f"train: another worker's loss is not a number at step {self.step}"
                )
            self._epoch.add(result, waited=waited)
            if progress is not None:
                loss = result.sums[0] / self._own_batch
                progress.advance(self.config.batch_size, note=f"loss {loss:.3f}")
            if self.step % self.plan.steps_per_epoch == 0:
                self._end_epoch(rate, input_size)
            if result.stop and self.step < self.plan.total_steps:
                self._state.share_statistics(self.strategy, self._over_workers)
                self._save()
                self._state.wait()
                # The others wait for the file: in a cluster the first that ends ends them all.
                self._over_workers(np.zeros(1))
                raise self._preempted()

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

    @contextlib.contextmanager
    def _signs_of_life(self, records: int) -> Iterator[None]:
        """Says that the worker reads, while it reads over records that it has seen, and no longer.

        Nothing else tells: one call of the stream reads over all of them.

        Args:
            records: How many; they are given a second for each thousand.
        """
        done = threading.Event()
        end = time.monotonic() + records / _READ_OVER_A_SECOND

        def tell() -> None:
            while not done.wait(_TELL_SECONDS) and time.monotonic() < end:
                self._at("reading")

        thread = threading.Thread(target=tell, name="reading-over", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _preempted(self) -> PreemptedError:
        return PreemptedError(f"train: told to stop; saved at step {self.step}")

    def _at(self, phase: Phase) -> None:
        if self._heartbeat is not None:
            self._heartbeat.at(self.step, phase)

    @property
    def _own_batch(self) -> int:
        """This worker's examples a step."""
        share: int = self.config.batch_size // self.strategy.num_replicas_in_sync
        return share * self._replicas_here

    def _batches(self, input_size: int) -> Iterator[tuple[Views, tf.Tensor, tf.Tensor]]:
        config = self.config
        repeats = None
        if config.class_balance:
            repeats = class_repeats(self._examples, self.labels, config.class_balance)

        def build(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return training_batches(
                self._examples,
                parser=self._parser,
                statistics=self.statistics,
                augmentation=config.augmentation,
                input_size=input_size,
                batch_size=context.get_per_replica_batch_size(config.batch_size),
                seed=config.seed,
                # A step takes one batch for each of this worker's devices.
                first_batch=self.step * self._replicas_here,
                shard=context.input_pipeline_id,
                shards=context.num_input_pipelines,
                cache_megabytes=config.cache_megabytes,
                threads=input_threads(processors_of_a_worker(config)),
                views_per_product=config.views_per_product,
                repeats=repeats,
            )

        dataset = self.strategy.distribute_datasets_from_function(build)
        batches: Iterator[tuple[Views, tf.Tensor, tf.Tensor]] = iter(dataset)
        return batches

    def _make_step(self) -> Step:
        return make_step(
            config=self.config,
            strategy=self.strategy,
            network=self.network,
            variables=self._variables,
            optimizer=self.optimizer,
            objective=Objective(self.config, self.labels, self.heads),
            foreground=self._foreground,
            memory=self._memory,
        )

    def _end_epoch(self, rate: float, input_size: int) -> None:
        """Writes the epoch down, saves and evaluates where the plan says so."""
        number = self.step // self.plan.steps_per_epoch
        self._state.share_statistics(self.strategy, self._over_workers)
        self.history.append(
            self._epoch.record(
                self._over_workers(self._epoch.sums),
                number=number,
                batch_size=self.config.batch_size,
                learning_rate=rate,
                input_size=input_size,
                shares=self._shares,
            )
        )
        self._epoch = Epoch.begin(len(self.heads))
        if self.step == self.plan.total_steps or number % self.config.checkpoint_every == 0:
            # Before the evaluation: that may be long, and what was trained is worth more.
            self._save()
        if self.is_chief:
            self._evaluate_if_due()
            self._events.add(self.history[-1], epochs=self.config.epochs)
        self._epoch.started = time.monotonic()

    def _save(self) -> None:
        """Saves a checkpoint; every worker takes part, the first one writes, meanwhile."""
        self._at("saving")
        # In the middle of an epoch the sums so far belong to what is saved.
        begun = self._epoch.saved(self._over_workers(self._epoch.sums))
        if self.is_chief:
            self._state.save(self.step, self.history, begun)

    def _shares(self, counts: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
        """Returns the share of right first guesses a head, leaving out heads without labels."""
        names = [*self.labels.level_names(), "product"]
        pairs = zip(names, counts.reshape(-1, 2), strict=True)
        return {name: float(right / known) for name, (right, known) in pairs if known}

    def _evaluate_if_due(self) -> bool:
        """Adds the shares on the products held out to the last record, where the plan wants them.

        Returns:
            Whether they were added: not in the middle of an epoch, nor where they are already.

        Raises:
            PreemptedError: This worker was told to stop; the epoch is saved, and a run that goes
                on from there evaluates first.
        """
        number, rest = divmod(self.step, self.plan.steps_per_epoch)
        due = self.step == self.plan.total_steps or number % self.config.evaluate_every == 0
        if rest or not due or "unseen" in self.history[-1]:
            return False
        found = self.evaluate_unseen()
        if found is None:
            # The first worker alone is here, at the end of an epoch: nothing is to be summed up.
            self._state.save(self.step, self.history, self._epoch.saved(self._epoch.sums))
            self._state.wait()
            raise self._preempted()
        self.history[-1]["unseen"] = found
        return True

    def evaluate_unseen(self) -> dict[str, float] | None:
        """Returns the share of right first guesses a level on the products held out.

        None when this worker is told to stop meanwhile.
        """
        counts = np.zeros(2 * len(self.heads))
        if self.statistics.unseen == 0:
            return {}
        for images, rows in unseen_batches(self._examples, parser=self._parser, batch_size=64):
            if self._stop.is_set():
                return None
            self._at("evaluating")
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
