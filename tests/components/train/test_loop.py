"""The training loop in one process: what a restart keeps, and what ends a run."""

import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from components.contracts.errors import LookalikeError
from components.train import loop
from components.train.checkpoints import Checkpoints
from components.train.loop import PreemptedError
from components.train.objective import Objective
from tests.components.train.test_train import trainer

# Two devices in one process stand for two GPUs of one worker.
_TWO_DEVICES = """
import json, sys, threading
from pathlib import Path
import tensorflow as tf
from components.contracts.errors import InputError
from components.contracts.taxonomy import Taxonomy
from components.train.config import TrainConfig
from components.train.loop import PreemptedError, Trainer
from components.train.train import read_labels

cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
examples, taxonomy, work = map(Path, sys.argv[1:4])
labels = read_labels(examples, Taxonomy.read(taxonomy))
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def trainer(name, stop=None, **changes):
    config = TrainConfig.from_mapping({**json.loads(sys.argv[4]), **changes})
    return Trainer(
        examples=examples, checkpoints=work / name, config=config, labels=labels,
        strategy=strategy, initial_weights=None, stop=stop,
    )

told = threading.Event()
told.set()
whole = trainer("whole").run()
try:
    trainer("broken", told).run()
    words = "was not stopped"
except PreemptedError as error:
    words = str(error)
resumed = trainer("broken").run()
try:
    trainer("odd", batch_size=15)
    refused = ""
except InputError as error:
    refused = str(error)
losses = [[record["loss"] for record in history] for history in (whole, resumed)]
print(json.dumps({"losses": losses, "stopped": words, "refused": refused}))
"""


@pytest.mark.slow
def test_devices_of_one_worker_share_batches_and_a_restart_meets_the_same(
    tmp_path, examples, taxonomy, taxonomy_file
):
    config = trainer(examples, taxonomy, tmp_path / "config").config
    arguments = [examples, taxonomy_file, tmp_path, json.dumps(config.to_mapping())]
    done = subprocess.run(
        [sys.executable, "-c", _TWO_DEVICES, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["stopped"] == "train: told to stop; saved at step 1"
    np.testing.assert_allclose(result["losses"][1], result["losses"][0], rtol=1e-5)
    assert "expected a multiple of the 2 devices" in result["refused"]


def stopped() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def test_the_curve_of_an_epoch_that_was_broken_off_is_that_of_a_whole_one(
    tmp_path, examples, taxonomy
):
    whole = trainer(examples, taxonomy, tmp_path / "whole").run()
    with pytest.raises(PreemptedError):
        trainer(examples, taxonomy, tmp_path / "broken", stop=stopped()).run()
    resumed = trainer(examples, taxonomy, tmp_path / "broken").run()
    for one, other in zip(whole, resumed, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["train"] == pytest.approx(other["train"])


def test_a_gradient_that_is_no_number_is_told_in_its_own_step(
    tmp_path, examples, taxonomy, monkeypatch
):
    class Cliff(Objective):
        """Its value is finite; its slope is not."""

        def __call__(self, vectors, rows, catalog):
            loss, counts = super().__call__(vectors, rows, catalog)
            return loss + tf.sqrt(tf.reduce_sum(vectors) * 0.0), counts

    monkeypatch.setattr(loop, "Objective", Cliff)
    with pytest.raises(LookalikeError, match=r"not a number at step 1 .*items.*(chair|sofa|lamp)-"):
        trainer(examples, taxonomy, tmp_path).run()
    assert Checkpoints(tmp_path, keep=1).latest() is None


@pytest.mark.slow
def test_what_was_trained_is_saved_before_a_long_evaluation(
    tmp_path, examples, taxonomy, monkeypatch
):
    whole = trainer(examples, taxonomy, tmp_path / "whole")
    whole.run()
    killed = trainer(examples, taxonomy, tmp_path / "killed")

    def die():
        if killed.step == killed.plan.total_steps:
            killed._state.wait()
            raise KeyboardInterrupt
        return {}

    monkeypatch.setattr(killed, "evaluate_unseen", die)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    resumed = trainer(examples, taxonomy, tmp_path / "killed")
    assert resumed.step == whole.plan.total_steps
    history = resumed.run()
    assert history[-1]["unseen"] == pytest.approx(whole.history[-1]["unseen"])


@pytest.mark.slow
def test_an_evaluation_that_is_broken_off_is_made_up_for(tmp_path, examples, taxonomy, monkeypatch):
    stop = threading.Event()
    broken = trainer(examples, taxonomy, tmp_path, stop=stop, checkpoint_every=100)
    evaluate = broken.evaluate_unseen

    def told_meanwhile():
        stop.set()
        return evaluate()

    monkeypatch.setattr(broken, "evaluate_unseen", told_meanwhile)
    with pytest.raises(PreemptedError, match="saved at step"):
        broken.run()
    assert broken.step == broken.plan.steps_per_epoch
    history = trainer(examples, taxonomy, tmp_path, checkpoint_every=100).run()
    assert [set(record["unseen"]) for record in history] == [{"department", "leaf"}] * 2


def test_reading_over_what_was_seen_gives_signs_of_life_for_a_while(
    tmp_path, examples, taxonomy, monkeypatch
):
    told = []
    one = trainer(examples, taxonomy, tmp_path)
    monkeypatch.setattr(one, "_at", told.append)
    monkeypatch.setattr(loop, "_TELL_SECONDS", 0.01)
    with one._signs_of_life(300):
        time.sleep(0.6)
    assert set(told) == {"reading"}
    assert 5 <= len(told) <= 30


def test_an_evaluation_gives_signs_of_life(tmp_path, examples, taxonomy, monkeypatch):
    told = []
    one = trainer(examples, taxonomy, tmp_path)
    monkeypatch.setattr(one, "_at", told.append)
    assert one.evaluate_unseen()
    assert told == ["evaluating"]
