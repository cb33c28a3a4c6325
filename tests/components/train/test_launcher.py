"""A group that runs elsewhere: what it is given, and what comes home."""

import subprocess
import sys
from pathlib import Path

import pytest

from components.contracts.files import read_json
from components.train import launcher
from components.train.augment_config import Augmentation
from components.train.backend_config import BackendConfig
from components.train.config import TrainConfig
from components.train.remote_job import JobState
from components.train.train import read_labels
from components.train.worker import Spec


class OneMachine:
    """Runs the one worker of a job here, as a cluster would run its container."""

    def __init__(self, options: BackendConfig, *, spec: Path, workers: int, restarts: int) -> None:
        self.spec = spec
        self.process: subprocess.Popen[bytes] | None = None

    def state(self, name: str) -> JobState | None:
        if self.process is None:
            return None
        code = self.process.poll()
        if code is None:
            return JobState("running")
        return JobState("failed", f"code {code}") if code else JobState("succeeded")

    def create(self, name: str) -> None:
        command = [sys.executable, "-m", "components.train", "--spec", str(self.spec)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def new_lines(self, name: str) -> list[object]:
        return []

    def cancel(self, name: str) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.mark.multiprocess
@pytest.mark.slow
def test_a_remote_group_works_in_the_staging_directory(tmp_path, examples, taxonomy, monkeypatch):
    monkeypatch.setattr(
        launcher,
        "_service",
        lambda backend, file, spec: OneMachine(backend, spec=file, workers=1, restarts=0),
    )
    config = TrainConfig(
        width=4, input_size=32, early_input_size=32, embedding_dim=8, epochs=1, batch_size=16,
        workers=1, precision="float32", augmentation=Augmentation(textures=2),
    )  # fmt: skip
    spec = Spec(
        examples=examples,
        checkpoints=tmp_path / "checkpoints",
        output=tmp_path / "checkpoints/result",
        initial_weights=None,
        config=config,
        labels=read_labels(examples, taxonomy),
    )
    backend = BackendConfig(
        backend="tfjob", staging=str(tmp_path / "staging"), mount_path=str(tmp_path), image="x",
        volume_claim="shop", poll_seconds=0.1, run_id="run-7",
    )  # fmt: skip
    launcher.run_group(spec, backend, name="abc")
    assert [record["epoch"] for record in read_json(spec.output / "history.json")] == [1]
    assert (spec.output / "weights.npz").is_file()
    (job,) = (tmp_path / "staging").iterdir()
    assert job.name == "lookalike-train-run-7"
    assert list((job / "checkpoints").glob("checkpoint-*.npz"))
    # A step that is tried again finds the result and starts nothing.
    monkeypatch.setattr(launcher, "run_job", None)
    launcher.run_group(spec, backend, name="abc")
