"""Training: does the input keep up, do two workers help, what do checkpoints and classes cost?

    python tests/benchmarks/bench_training.py [input|workers|checkpoints|classes ...]

Makes its own examples (plain noise: only time is measured). Each figure is a ratio within one run,
printed beside its target; nothing is asserted, machines differ. A core of a shared machine may be
half as fast for seconds: where the speed of trainings is compared, all are alive at once and take
turns of seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from components.contracts.files import write_json
from components.train.checkpoints import Checkpoints
from components.train.config import TrainConfig
from components.train.labels import LabelSpace
from components.train.local_group import free_ports
from components.train.loop import Trainer
from components.train.shared_memory import MEMORY_VARIABLE, group_memory
from components.train.worker import Spec

# What transform stores by default; the network sees 64 of them.
STORED = 72
# Examples a worker and step, of which the first is the default of two workers.
_BATCHES = (64, 128)
# Turns of each group, and how long one is; a step takes a tenth of a second to a whole one.
_ROUNDS, _TURN_SECONDS = 15, 4.0
# What differs by a few percent needs many and short ones: what disturbs one disturbs the next.
_MANY_ROUNDS, _SHORT_TURN_SECONDS = 80, 1.2
# Undisturbed is a step that is slower than this share of all, in percent.
_UNDISTURBED = 5
_WARM_STEPS = 25


def make_examples(
    root: Path, *, images: int, leaves: int, products: int, size: int = STORED
) -> LabelSpace:
    """Writes examples as transform does, and returns their classes."""
    departments = max(2, leaves // 100)
    labels = LabelSpace(
        levels=(
            tuple(range(1, departments + 1)),
            tuple(range(departments + 1, departments + leaves + 1)),
        ),
        products=tuple(f"p{number:06d}" for number in range(products)),
        parents=(tuple(leaf % departments for leaf in range(leaves)),),
    )
    rng = np.random.default_rng(0)

    def text(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    shards = 8
    for split, count in (("train", images), ("unseen", 64)):
        (root / split).mkdir(parents=True)
        writers = [
            tf.io.TFRecordWriter(str(root / split / f"part-{shard:05d}-of-{shards:05d}.tfrecord"))
            for shard in range(shards)
        ]
        for number in range(count):
            leaf = number % leaves
            path = [1 + leaf % departments, departments + 1 + leaf]
            pixels = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
            features = {
                "image": text(pixels.tobytes()),
                "background": text(bytes(size * size)),
                "item_id": text(f"i{number}".encode()),
                "product_id": text(labels.products[number % products].encode()),
                "label_path": tf.train.Feature(int64_list=tf.train.Int64List(value=path)),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writers[number % shards].write(example.SerializeToString())
        for writer in writers:
            writer.close()
    write_json(
        root / "statistics.json",
        {
            "stored_size": size,
            "train": {"examples": images, "shards": shards},
            "unseen": {"examples": 64, "shards": shards},
            "channel_mean": [127.0] * 3,
            "channel_std": [74.0] * 3,
        },
    )
    return labels


def config(**changes: Any) -> TrainConfig:
    """The defaults, without what is not measured."""
    values = {"workers": 1, "epochs": 2, "evaluate_every": 1000, "checkpoint_every": 1000}
    return TrainConfig.from_mapping({**values, **changes})


def run(examples: Path, labels: LabelSpace, work: Path, **changes: Any) -> list[dict[str, Any]]:
    """Trains in this process and returns the epochs' records, the first (compilation) left out."""
    trainer = Trainer(
        examples=examples,
        checkpoints=work,
        config=config(**changes),
        labels=labels,
        strategy=tf.distribute.OneDeviceStrategy("/cpu:0"),
        initial_weights=None,
    )
    end_epoch = trainer._end_epoch

    def with_memory(*arguments: Any) -> None:
        end_epoch(*arguments)
        trainer.history[-1]["megabytes"] = resident_megabytes()

    trainer._end_epoch = with_memory  # type: ignore[method-assign]
    return trainer.run()[1:]


def best(records: list[dict[str, Any]]) -> float:
    """Returns the largest images a second of the epochs: the least disturbed one."""
    return max(float(record["images_per_second"]) for record in records)


def measure_input(work: Path) -> dict[str, Any]:
    """The real input pipeline against one batch in memory, one worker.

    On one core, which the input's thread has to share with the training, and on two, where it takes
    turns with one of two threads that wait for each other.

    Undisturbed steps are compared, as for the workers; beside them whole turns.
    """
    labels = make_examples(work / "examples", images=4096, leaves=100, products=400)
    with contextlib.ExitStack() as stack:
        groups = {}
        for where, cores in (("one core", "0"), ("two cores", "0,1")):
            for what, cached in (("pipeline", False), ("one batch", True)):
                name = f"{what} on {where}"
                group = Group(
                    work, labels, name=name, cores=[cores], batch=_BATCHES[0], cached=cached
                )
                groups[name] = stack.enter_context(group)
        plan = [(name,) for name in groups]
        rates = turns(groups, plan, rounds=_MANY_ROUNDS, seconds=_SHORT_TURN_SECONDS)
        undisturbed = {name: group.undisturbed() for name, group in groups.items()}

    def compared(where: str) -> dict[str, float]:
        real, cached = f"pipeline on {where}", f"one batch on {where}"
        neighbours = np.array(rates[real]) / np.array(rates[cached])
        return {
            "undisturbed_steps": round(undisturbed[real] / undisturbed[cached], 4),
            "neighbouring_turns": round(float(np.median(neighbours)), 4),
            "median_turns": round(float(np.median(rates[real]) / np.median(rates[cached])), 4),
        }

    on_one, on_two = compared("one core"), compared("two cores")
    what = "input pipeline / one cached batch, images a second"
    return figure(what, on_one["undisturbed_steps"], ">= 0.95") | {
        "on_one_core": on_one,
        "on_two_cores": on_two,
        "images_per_second_undisturbed": undisturbed,
        "images_per_second_a_turn": rates,
    }


def measure_workers(work: Path) -> dict[str, Any]:
    """Two workers pinned to a core each against one worker pinned to one core.

    With the default's 64 examples a worker and step, and with 128, where the same exchange goes
    with twice the work. Beside it what the machine gives at most: two workers at once that know
    nothing of each other.

    A step of two waits for the slower core, and both are seldom fast for a whole turn; so steps
    are compared here, each group's undisturbed ones.
    """
    labels = make_examples(work / "examples", images=2048, leaves=100, products=200)
    one, more = _BATCHES
    with contextlib.ExitStack() as stack:
        groups = {}
        for name, cores, batch in (
            ("one", ["0"], one),
            ("another", ["1"], one),
            ("two", ["0", "1"], one),
            (f"one of {more}", ["0"], more),
            (f"two of {more}", ["0", "1"], more),
        ):
            group = Group(work, labels, name=name, cores=cores, batch=batch)
            groups[name] = stack.enter_context(group)
        plan = [*((name,) for name in groups), ("one", "another")]
        rates = turns(groups, plan, rounds=_ROUNDS, seconds=_TURN_SECONDS)
        undisturbed = {name: group.undisturbed() for name, group in groups.items()}
    best_of = {name: max(found) for name, found in rates.items()}
    best_alone = max(best_of["one"], best_of["another"])
    ratio = undisturbed["two"] / max(undisturbed["one"], undisturbed["another"])
    larger = undisturbed[f"two of {more}"] / undisturbed[f"one of {more}"]
    return figure("two workers on a core each / one worker on one core", ratio, ">= 1.8") | {
        f"with_{more}_examples_a_worker": round(larger, 4),
        "of_the_best_turns": round(best_of["two"] / best_alone, 4),
        "two_that_share_nothing": round(best_of["one beside another"] / best_alone, 4),
        "images_per_second_undisturbed": undisturbed,
        "images_per_second_a_turn": rates,
    }


class Group:
    """The workers of one training, each on cores of its own; stopped but for its turns."""

    def __init__(
        self,
        work: Path,
        labels: LabelSpace,
        *,
        name: str,
        cores: list[str],
        batch: int,
        cached: bool = False,
    ) -> None:
        """Starts the workers, and stops them when they have made some steps.

        Args:
            work: Holds the examples; a directory is made beside them.
            labels: The classes.
            name: Of the group and its directory.
            cores: Of each worker, as `taskset -c` takes them.
            batch: Examples a worker and step.
            cached: Whether each worker trains on its first batch again and again.
        """
        workers = len(cores)
        self.images_a_step = batch * workers
        self._seconds: list[float] = []
        directory = work / name.replace(" ", "-")
        Spec(
            examples=work / "examples",
            checkpoints=directory,
            output=directory / "result",
            initial_weights=None,
            config=config(workers=workers, batch_size=batch * workers, epochs=100_000),
            labels=labels,
        ).write(directory / "spec.json")
        with free_ports(workers) as ports:
            addresses = [f"127.0.0.1:{port}" for port in ports]
        self._log = directory / "steps-0.log"
        memory = group_memory()
        self._workers = []
        for number, core in enumerate(cores):
            task = {"type": "worker", "index": number}
            environment = dict(os.environ) | {
                "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task}),
                "STEP_LOG": str(directory / f"steps-{number}.log"),
                "no_proxy": "127.0.0.1",
                "CACHED": "1" if cached else "",
                MEMORY_VARIABLE: str(memory),
            }
            command = ["taskset", "-c", core, sys.executable]
            command += [str(Path(__file__).with_name("timed_worker.py"))]
            command += ["--spec", str(directory / "spec.json")]
            self._workers.append(
                subprocess.Popen(
                    command, env=environment, stderr=subprocess.DEVNULL, pass_fds=[memory]
                )
            )
        os.close(memory)
        while len(self.steps()) < _WARM_STEPS:
            if any(worker.poll() is not None for worker in self._workers):
                self.__exit__()
                raise SystemExit(f"a worker of {name!r} ended; run it by itself to see why")
            time.sleep(0.2)
        self.send(signal.SIGSTOP)

    def steps(self) -> list[float]:
        """Returns when the first worker began each of its steps, `time.monotonic()`."""
        if not self._log.exists():
            return []
        return [float(line) for line in self._log.read_text(encoding="ascii").split("\n")[:-1]]

    def speed_since(self, began: float) -> float:
        """Returns the images a second of a turn that began at a time; 0 where it was too short."""
        # The first step was under way when the group was stopped the last time.
        times = [at for at in self.steps() if at > began][1:]
        if len(times) < 2:
            return 0.0
        self._seconds += [later - at for at, later in itertools.pairwise(times)]
        return self.images_a_step * (len(times) - 1) / (times[-1] - times[0])

    def undisturbed(self) -> float:
        """Returns the images a second of its undisturbed steps in all turns so far."""
        return round(float(self.images_a_step / np.percentile(self._seconds, _UNDISTURBED)), 1)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to all workers."""
        for worker in self._workers:
            worker.send_signal(number)

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kills the workers."""
        for worker in self._workers:
            worker.kill()
            worker.wait()


def turns(
    groups: dict[str, Group], plan: Sequence[tuple[str, ...]], *, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Lets groups take turns, some of them side by side; returns the images a second of each."""
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        for names in plan:
            found = take_turn([groups[name] for name in names], seconds)
            rates.setdefault(" beside ".join(names), []).append(round(found, 1))
    return rates


def take_turn(groups: Sequence[Group], seconds: float) -> float:
    """Lets some groups run side by side, and returns their images a second, added up."""
    began = time.monotonic()
    for group in groups:
        group.send(signal.SIGCONT)
    time.sleep(seconds)
    for group in groups:
        group.send(signal.SIGSTOP)
    return sum(group.speed_since(began) for group in groups)


def measure_checkpoints(work: Path) -> dict[str, Any]:
    """What a checkpoint every epoch adds to the wall time, at most.

    Two whole runs side by side differ by more than a checkpoint costs. So it is timed within one:
    what the training thread waits for, and all of the processor's time that the writing thread
    takes, as if none of it fitted into a gap of the training.
    """
    labels = make_examples(work / "examples", images=4096, leaves=100, products=200)
    spent = {"waiting": 0.0, "writing": 0.0}
    real_save, real_write = Trainer._save, Checkpoints._write

    def save(self: Trainer) -> None:
        started = time.monotonic()
        real_save(self)
        spent["waiting"] += time.monotonic() - started

    def write(self: Checkpoints, *arguments: Any) -> None:
        started = time.thread_time()
        real_write(self, *arguments)
        spent["writing"] += time.thread_time() - started

    Trainer._save, Checkpoints._write = save, write  # type: ignore[method-assign]
    started = time.monotonic()
    try:
        run(work / "examples", labels, work / "c", epochs=5, checkpoint_every=1)
    finally:
        Trainer._save, Checkpoints._write = real_save, real_write  # type: ignore[method-assign]
    wall = time.monotonic() - started
    ratio = sum(spent.values()) / wall
    return figure("checkpoint every epoch, share of the wall time", ratio, "<= 0.03") | {
        "seconds": spent | {"wall": wall}
    }


def measure_classes(work: Path) -> dict[str, Any]:
    """3,800 leaves against 100, 15,000 images."""
    rates, memory = {}, {}
    for leaves in (100, 3800):
        directory = work / str(leaves)
        labels = make_examples(
            directory / "e", images=15_000, leaves=leaves, products=3000, size=64
        )
        records = run(directory / "e", labels, directory / "c", epochs=4)
        rates[leaves] = best(records)
        memory[leaves] = [record["megabytes"] for record in records]
    return figure("time a step, 3,800 leaves / 100", rates[100] / rates[3800], "<= 1.2") | {
        "megabytes_after_each_epoch": memory
    }


def resident_megabytes() -> int:
    """Returns the memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() // 2**20


def figure(what: str, value: float, target: str) -> dict[str, Any]:
    """One line of the result."""
    return {"what": what, "value": round(value, 4), "target": target}


MEASURES = {
    "input": measure_input,
    "workers": measure_workers,
    "checkpoints": measure_checkpoints,
    "classes": measure_classes,
}


def main() -> None:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", choices=[*MEASURES, []], help="all when left out")
    for name in parser.parse_args().what or MEASURES:
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(MEASURES[name](Path(scratch))), flush=True)


if __name__ == "__main__":
    main()
