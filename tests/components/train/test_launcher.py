"""A group that runs elsewhere: what it is called, what it is given, and what comes home."""

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest

from components.contracts.errors import InputError
from components.contracts.files import read_json
from components.train import launcher
from components.train.augment_config import Augmentation
from components.train.backend_config import BackendConfig
from components.train.config import TrainConfig
from components.train.group_errors import WorkerError
from components.train.labels import LabelSpace
from components.train.remote_job import JobState
from components.train.train import read_labels
from components.train.worker import Spec


class OneMachine:
    """Runs the one worker of a job here, as a cluster would run its container."""

    def __init__(self, spec: Path) -> None:
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


class Instant:
    """Jobs that are done as soon as they are started, or fail; one service for all of them."""

    def __init__(self):
        self.file, self.jobs, self.codes = None, {}, {}
        self.leaves = ("weights.npz", "history.json")

    def __call__(self, backend: BackendConfig, file: Path, spec: Spec) -> "Instant":
        self.file = file
        return self

    def state(self, name: str) -> JobState | None:
        return self.jobs.get(name)

    def create(self, name: str) -> None:
        self.jobs[name] = JobState("failed" if name in self.codes else "succeeded")
        if name not in self.codes:
            output = Spec.read(self.file).output
            output.mkdir(parents=True, exist_ok=True)
            for file in self.leaves:
                (output / file).write_text(f'["{name}"]')

    def new_lines(self, name: str) -> list[object]:
        return []

    def cancel(self, name: str) -> None:
        raise AssertionError("nothing runs")


def elsewhere(directory: Path, **values: str) -> BackendConfig:
    return BackendConfig(
        backend="tfjob", staging=str(directory / "staging"), mount_path=str(directory), image="x",
        volume_claim="shop", poll_seconds=0.1, **values,
    )  # fmt: skip


@pytest.fixture
def service(monkeypatch):
    service = Instant()
    monkeypatch.setattr(launcher, "_service", service)
    return service


@pytest.fixture
def spec(tmp_path, taxonomy):
    examples = tmp_path / "examples"
    (examples / "train").mkdir(parents=True)
    (examples / "train" / "one.tfrecord").write_bytes(b"some records")
    (examples / "statistics.json").write_text("{}")
    weights = tmp_path / "incumbent.npz"
    weights.write_bytes(b"weights")
    return Spec(
        examples=examples, checkpoints=tmp_path / "checkpoints",
        output=tmp_path / "checkpoints/result", initial_weights=weights,
        config=TrainConfig(restarts=2), labels=LabelSpace.of(taxonomy, ["chair-1"]),
    )  # fmt: skip


def home(spec: Spec) -> str:
    (name,) = read_json(spec.output / "history.json")
    return str(name)


def test_a_run_id_does_not_bring_an_earlier_result_home(tmp_path, spec, service):
    backend = elsewhere(tmp_path, run_id="nightly")
    launcher.run_group(spec, backend, name="aaa")
    assert home(spec) == "lookalike-train-nightly-aaa"
    launcher.run_group(spec, backend, name="bbb")
    assert home(spec) == "lookalike-train-nightly-bbb"
    assert sorted(one.name for one in (tmp_path / "staging").iterdir()) == list(service.jobs)
    # The same work, tried again, finds what is there.
    service.jobs.clear()
    launcher.run_group(spec, backend, name="aaa")
    assert home(spec) == "lookalike-train-nightly-aaa"
    assert service.jobs == {}


def test_a_result_that_was_cleaned_away_is_made_again(tmp_path, spec, service):
    backend = elsewhere(tmp_path)
    launcher.run_group(spec, backend, name="aaa")
    (tmp_path / "staging/lookalike-train-aaa/result/weights.npz").unlink()
    launcher.run_group(spec, backend, name="aaa")
    assert home(spec) == "lookalike-train-aaa-2"
    assert (spec.output / "weights.npz").is_file()


def test_a_group_is_started_again_as_often_as_its_config_says(tmp_path, spec, service):
    names = [f"lookalike-train-aaa{end}" for end in ("", "-2", "-3", "-4")]
    service.codes = dict.fromkeys(names)
    with pytest.raises(WorkerError, match="lookalike-train-aaa-3 failed"):
        launcher.run_group(spec, elsewhere(tmp_path), name="aaa")
    assert list(service.jobs) == names[:3]


@pytest.mark.parametrize("run_id", ["", "run-7", "a" * 40, "a-" * 19 + "ab"])
def test_a_name_leaves_room_for_what_kubernetes_adds(run_id):
    name = launcher.job_name(run_id, "0123456789ab")
    assert name.endswith("-0123456789ab")
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", f"{name}-999-worker-999")
    assert len(f"{name}-999-worker-999") <= 63
    assert name.startswith(f"lookalike-train-{run_id}"[:26].rstrip("-"))


def test_long_ids_that_begin_alike_stay_apart():
    names = {launcher.job_name(f"nightly-visual-search-2026-11-{day}", "0123") for day in (22, 23)}
    assert len(names) == 2


def test_what_the_workers_read_is_copied_file_by_file(tmp_path, spec, service, monkeypatch):
    backend = elsewhere(tmp_path)
    job = tmp_path / "staging/lookalike-train-aaa"
    # A mount of a bucket refuses to rename a directory that holds something.
    rename = Path.replace
    monkeypatch.setattr(Path, "rename", None)

    def replace(self, target):
        assert self.is_file()
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    launcher.run_group(spec, backend, name="aaa")
    staged = Spec.read(job / "checkpoints/spec.json")
    assert (staged.examples / "train/one.tfrecord").read_bytes() == b"some records"
    assert (staged.examples / "statistics.json").read_text() == "{}"
    assert staged.initial_weights.read_bytes() == b"weights"
    assert not list(job.glob(".copy-*"))


def test_a_staging_directory_that_takes_no_examples_is_named(tmp_path, spec, service, monkeypatch):
    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        patched.setattr(Path, "rename", full)
        with pytest.raises(InputError, match=r"backend\.staging: expected .* No space left"):
            launcher.run_group(spec, elsewhere(tmp_path), name="aaa")
    assert service.jobs == {}
    # What is half there is taken for nothing, and the next try goes on.
    launcher.run_group(spec, elsewhere(tmp_path), name="aaa")
    staged = Spec.read(tmp_path / "staging/lookalike-train-aaa/checkpoints/spec.json")
    assert (staged.examples / "train/one.tfrecord").read_bytes() == b"some records"


def test_the_history_comes_home_last(tmp_path, spec, service, monkeypatch):
    def killed(source, target, **options):
        assert options["ignore"](str(source), ["weights.npz", "history.json"]) == {"history.json"}
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.copytree", killed)
    with pytest.raises(KeyboardInterrupt):
        launcher.run_group(spec, elsewhere(tmp_path), name="aaa")
    # train_encoder takes it as the sign that the group has done its work.
    assert not (spec.output / "history.json").exists()


@pytest.mark.multiprocess
@pytest.mark.slow
def test_a_remote_group_works_in_the_staging_directory(tmp_path, examples, taxonomy, monkeypatch):
    monkeypatch.setattr(launcher, "_service", lambda backend, file, spec: OneMachine(file))
    config = TrainConfig(
        depth=10, width=4, input_size=32, early_input_size=32, embedding_dim=8, epochs=1,
        batch_size=16, workers=1, precision="float32", augmentation=Augmentation(textures=2),
    )  # fmt: skip
    spec = Spec(
        examples=examples,
        checkpoints=tmp_path / "checkpoints",
        output=tmp_path / "checkpoints/result",
        initial_weights=None,
        config=config,
        labels=read_labels(examples, taxonomy),
    )
    backend = elsewhere(tmp_path, run_id="run-7")
    launcher.run_group(spec, backend, name="abc")
    assert [record["epoch"] for record in read_json(spec.output / "history.json")] == [1]
    assert (spec.output / "weights.npz").is_file()
    (job,) = (tmp_path / "staging").iterdir()
    assert job.name == "lookalike-train-run-7-abc"
    assert list((job / "checkpoints").glob("checkpoint-*.npz"))
    # A step that is tried again finds the result and starts nothing.
    monkeypatch.setattr(launcher, "run_job", None)
    launcher.run_group(spec, backend, name="abc")
