"""The train step on the tiny catalog, with one real group of two processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.contracts.encoder import read_encoder, read_trained_products
from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import read_json, sha256_tree, write_json
from components.contracts.taxonomy import Taxonomy
from components.train.augment_config import Augmentation
from components.train.checkpoints import Checkpoints
from components.train.config import TrainConfig
from components.train.data import Statistics
from components.train.group_errors import WorkerError
from components.train.heads import build_heads
from components.train.local_group import run_workers
from components.train.loop import PreemptedError, Trainer
from components.train.plan import Plan
from components.train.resnet import build_resnet
from components.train.train import read_labels, train_encoder
from components.train.weights import save_weights
from components.train.worker import Spec, train
from components.transform.pipeline import channel_statistics
from tests.components.train.conftest import PRODUCTS, TAXONOMY, draw, png

CONFIG = TrainConfig(
    depth=10,
    width=4,
    input_size=32,
    early_input_size=32,
    embedding_dim=16,
    epochs=2,
    batch_size=16,
    learning_rate=0.02,
    warmup_epochs=0.5,
    precision="float32",
    checkpoint_every=1,
    evaluate_every=1,
    augmentation=Augmentation(textures=8),
)


@pytest.fixture(scope="module")
def examples(examples, transform_graph, tmp_path_factory) -> Path:
    """The examples with the channel statistics that the graph carries, as of one transform run."""
    mean, deviation = channel_statistics(transform_graph)
    return with_statistics(
        examples, tmp_path_factory.mktemp("run"), channel_mean=mean, channel_std=deviation
    )


def with_statistics(examples: Path, target: Path, **changes) -> Path:
    """A copy of the examples with other statistics."""
    shutil.copytree(examples, target, dirs_exist_ok=True)
    values = read_json(target / "statistics.json")
    write_json(target / "statistics.json", {**values, **changes})
    return target


class GroupStartedError(Exception):
    """All checks were passed."""


@pytest.fixture
def no_group(monkeypatch):
    """Ends where a group would be started."""

    def run_group(*arguments, **options):
        raise GroupStartedError

    monkeypatch.setattr("components.train.train.run_group", run_group)


def run(tmp_path, examples, transform_graph, taxonomy_file, **changes):
    values = {
        "examples": examples,
        "transform_graph": transform_graph,
        "taxonomy": taxonomy_file,
        "mode": "scratch",
        "incumbent_encoder": None,
        "config": CONFIG,
        "encoder": tmp_path / "encoder",
        "checkpoints": tmp_path / "checkpoints",
        "report": tmp_path / "report.html",
    }
    return train_encoder(**{**values, **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory, examples, transform_graph, taxonomy_file):
    """An encoder that two processes trained."""
    directory = tmp_path_factory.mktemp("trained")
    return directory, run(directory, examples, transform_graph, taxonomy_file)


@pytest.mark.multiprocess
@pytest.mark.slow
def test_two_processes_train_one_encoder(trained):
    directory, figures = trained
    encoder = directory / "encoder"
    assert {path.name for path in encoder.iterdir()} == {
        "saved_model", "encoder.json", "weights.npz", "trained_products.txt", "curves.json",
        "model_card.json", "model_card.md", "confusions.json",
    }  # fmt: skip
    card = read_encoder(encoder)
    assert card.embedding_dim == 16
    assert card.digest == sha256_tree(encoder / "saved_model")
    seen = {product for product, _, split in PRODUCTS if split == "train"}
    assert read_trained_products(encoder) == seen
    history = read_json(encoder / "curves.json")
    assert [record["epoch"] for record in history] == [1, 2]
    assert set(history[-1]["train"]) == {"department", "leaf", "product"}
    assert set(history[-1]["unseen"]) == {"department", "leaf"}
    assert figures["loss"] == history[-1]["loss"]
    assert figures["export_difference"] <= 1e-4
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    confusions = read_json(encoder / "confusions.json")
    # What the loop counted while it trained and what the exported weights say is one thing.
    assert confusions["right"] / confusions["images"] == pytest.approx(
        history[-1]["unseen"]["leaf"]
    )
    assert "Most confused types" in page


@pytest.mark.multiprocess
@pytest.mark.slow
def test_the_export_takes_bytes_and_pixels(trained):
    directory, _ = trained
    signatures = tf.saved_model.load(str(directory / "encoder/saved_model")).signatures
    images = np.stack([draw(number, 0)[0] for number in range(5)])
    by_pixels = signatures["pixels"](tf.constant(images))["embedding"].numpy()
    data = tf.constant([png(image) for image in images])
    by_bytes = signatures["image_bytes"](data)["embedding"].numpy()
    assert by_bytes.shape == (5, 16)
    np.testing.assert_allclose(np.linalg.norm(by_bytes, axis=1), 1.0, atol=1e-5)
    # The images have the stored size already, so the graph only decodes them.
    np.testing.assert_allclose(by_bytes, by_pixels, atol=1e-4)


@pytest.mark.multiprocess
@pytest.mark.slow
def test_running_again_repeats_no_training(
    trained, examples, transform_graph, taxonomy_file, monkeypatch
):
    directory, figures = trained
    before = _weights(directory)
    monkeypatch.setattr("components.train.train.run_group", None)
    again = run(directory, examples, transform_graph, taxonomy_file)
    assert again == figures
    for name, values in _weights(directory).items():
        np.testing.assert_array_equal(values, before[name])


def _weights(directory):
    with np.load(directory / "encoder/weights.npz") as archive:
        return {name: archive[name] for name in archive.files}


@pytest.mark.multiprocess
@pytest.mark.slow
def test_reuse_copies_and_warm_goes_on(trained, tmp_path, examples, transform_graph, taxonomy_file):
    incumbent = trained[0] / "encoder"
    run(tmp_path / "reuse", examples, transform_graph, taxonomy_file, mode="reuse",
        incumbent_encoder=incumbent)  # fmt: skip
    assert sha256_tree(tmp_path / "reuse/encoder") == sha256_tree(incumbent)

    config = TrainConfig.from_mapping({**CONFIG.to_mapping(), "epochs": 0, "workers": 1})
    run(tmp_path / "warm", examples, transform_graph, taxonomy_file, mode="warm",
        incumbent_encoder=incumbent, config=config)  # fmt: skip
    warm, old = _weights(tmp_path / "warm"), _weights(trained[0])
    assert warm.keys() == old.keys()
    for name, values in old.items():
        np.testing.assert_array_equal(warm[name], values)


def trainer(examples, taxonomy, checkpoints, *, stop=None, **changes):
    config = TrainConfig.from_mapping({**CONFIG.to_mapping(), "workers": 1, **changes})
    return Trainer(
        examples=examples,
        checkpoints=checkpoints,
        config=config,
        labels=read_labels(examples, taxonomy),
        strategy=tf.distribute.OneDeviceStrategy("/cpu:0"),
        initial_weights=None,
        stop=stop,
    )


@pytest.mark.slow
def test_a_restart_ends_with_the_same_steps_and_weights(tmp_path, examples, taxonomy):
    whole = trainer(examples, taxonomy, tmp_path / "whole", epochs=3)
    whole.run()

    broken = trainer(examples, taxonomy, tmp_path / "broken", epochs=3)
    end_epoch = broken._end_epoch

    def die_after_the_second_epoch(*arguments):
        end_epoch(*arguments)
        if len(broken.history) == 2:
            raise KeyboardInterrupt

    broken._end_epoch = die_after_the_second_epoch
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = trainer(examples, taxonomy, tmp_path / "broken", epochs=3)
    assert resumed.step == 2 * whole.plan.steps_per_epoch
    resumed.run()
    assert resumed.step == whole.step == whole.plan.total_steps
    losses = [[record["loss"] for record in one.history] for one in (whole, resumed)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    for one, other in zip(whole.network.weights, resumed.network.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)


def test_random_weights_make_an_encoder(tmp_path, examples, transform_graph, taxonomy_file):
    config = TrainConfig.from_mapping({**CONFIG.to_mapping(), "epochs": 0, "workers": 1})
    figures = run(tmp_path, examples, transform_graph, taxonomy_file, config=config)
    assert figures["epochs"] == 0
    assert read_encoder(tmp_path / "encoder").embedding_dim == 16
    assert "No step was taken" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("mode", "words"),
    [("hot", "expected a mode out of scratch, warm, reuse"), ("warm", "there is none")],
)
def test_a_mode_that_cannot_be_is_refused(
    tmp_path, examples, transform_graph, taxonomy_file, mode, words
):
    with pytest.raises(InputError, match=words):
        run(tmp_path, examples, transform_graph, taxonomy_file, mode=mode)


def with_leaves(tmp_path, *rows: str) -> Path:
    """The taxonomy with more leaves below."""
    path = tmp_path / "more.csv"
    Taxonomy.parse((TAXONOMY + "".join(f"{row}\n" for row in rows)).encode()).write(path)
    return path


def test_a_leaf_without_an_image_is_refused_before_training(
    tmp_path, examples, transform_graph, no_group
):
    more = with_leaves(tmp_path, "stools,seating,Stools", "shades,lighting,Shades")
    with pytest.raises(
        InputError,
        match=r"each of the 5 leaves .* none of 2 \(Seating > Stools; Lighting > Shades\); give "
        r"images.* retires them.*train\.empty_leaves=allow",
    ):
        run(tmp_path, examples, transform_graph, more)


@pytest.fixture
def with_empty_leaves(tmp_path, examples) -> tuple[Path, Path]:
    """Stools are too rare to be a class, and all shades are held out."""
    rare = {"stools": {"images": 1, "trained_as": "seating"}}
    copy = with_statistics(examples, tmp_path / "examples", rare_classes=rare)
    more = with_leaves(tmp_path, "stools,seating,Stools", "shades,lighting,Shades")
    tree = Taxonomy.read(more)
    relabel(copy, "unseen", {"lamp-unseen": [tree.class_id(n) for n in ("lighting", "shades")]})
    return copy, more


def test_leaves_that_transform_left_out_are_not_refused(
    tmp_path, with_empty_leaves, transform_graph, no_group
):
    copy, more = with_empty_leaves
    with pytest.raises(GroupStartedError):
        run(tmp_path, copy, transform_graph, more)


@pytest.mark.slow
def test_the_card_tells_of_leaves_without_an_example(tmp_path, with_empty_leaves, transform_graph):
    copy, _ = with_empty_leaves
    more = with_leaves(
        tmp_path, "stools,seating,Stools", "shades,lighting,Shades", "rugs,root,Rugs"
    )
    allowed = {"epochs": 0, "workers": 1, "empty_leaves": "allow"}
    config = TrainConfig.from_mapping({**CONFIG.to_mapping(), **allowed})
    figures = run(tmp_path, copy, transform_graph, more, config=config)
    assert figures["empty_leaves"] == 3
    empty = read_json(tmp_path / "encoder/model_card.json")["empty_leaves"]
    assert (empty["empty"], empty["leaves"]) == (3, 6)
    assert empty["no_image"] == {"count": 1, "names": ["Rugs"]}
    assert empty["rare"]["names"] == ["Seating > Stools"]
    assert empty["held_out"]["names"] == ["Lighting > Shades"]
    text = (tmp_path / "encoder/model_card.md").read_text(encoding="utf-8")
    assert (
        "3 of the 6 leaves of the taxonomy have no training example: 1 without an image (Rug"
        in text
    )


def relabel(examples: Path, split: str, paths: dict[str, list[int]]) -> None:
    """Gives the examples of some products another label path."""
    for file in (examples / split).glob("*.tfrecord"):
        records = []
        for record in tf.data.TFRecordDataset(str(file)):
            example = tf.train.Example.FromString(record.numpy())
            feature = example.features.feature
            product = feature["product_id"].bytes_list.value[0].decode()
            if product in paths:
                feature["label_path"].int64_list.value[:] = paths[product]
            records.append(example.SerializeToString())
        with tf.io.TFRecordWriter(str(file)) as writer:
            for record in records:
                writer.write(record)


def test_a_split_without_training_examples_says_what_to_change(
    tmp_path, examples, transform_graph, taxonomy_file, no_group
):
    empty = tmp_path / "examples"
    shutil.copytree(examples, empty)
    for file in (empty / "train").glob("*.tfrecord"):
        file.write_bytes(b"")
    with pytest.raises(
        InputError, match=r"received none; lower transform\.unseen_fraction.*rejects of catalog"
    ):
        run(tmp_path, empty, transform_graph, taxonomy_file)


def test_a_graph_of_another_run_is_refused_before_training(
    tmp_path, examples, transform_graph, taxonomy_file, no_group
):
    other = with_statistics(examples, tmp_path / "examples", channel_mean=[127.0, 128.0, 128.0])
    with pytest.raises(InputError, match=r"channel_mean of the examples.*one transform run"):
        run(tmp_path, other, transform_graph, taxonomy_file)


def test_a_warm_start_from_another_network_is_refused_before_training(
    tmp_path, examples, transform_graph, taxonomy_file, taxonomy, no_group
):
    incumbent = tmp_path / "incumbent"
    labels = read_labels(examples, taxonomy)
    for width in (4, 8):
        network = build_resnet(
            depth=10, width=width, embedding_dim=16, channel_mean=(1,) * 3, channel_std=(1,) * 3
        )
        heads = build_heads(labels, embedding_dim=16, seed=0)
        save_weights(incumbent / str(width) / "weights.npz", network, heads, labels)
        write_json(incumbent / str(width) / "encoder.json", {"digest": "d", "embedding_dim": 16})

    def warm(width):
        run(tmp_path, examples, transform_graph, taxonomy_file, mode="warm",
            incumbent_encoder=incumbent / width)  # fmt: skip

    with pytest.raises(InputError, match="train with mode=scratch"):
        warm("8")
    with pytest.raises(GroupStartedError):
        warm("4")


def test_fewer_examples_than_a_batch_are_refused_before_training(
    tmp_path, examples, transform_graph, taxonomy_file, no_group
):
    config = TrainConfig.from_mapping({**CONFIG.to_mapping(), "batch_size": 64})
    with pytest.raises(InputError, match=r"at least 64 training examples.*received 48; lower"):
        run(tmp_path, examples, transform_graph, taxonomy_file, config=config)


def test_checkpoints_of_the_same_images_with_other_labels_are_refused(
    tmp_path, examples, transform_graph, taxonomy_file, taxonomy, no_group
):
    for _ in range(2):
        with pytest.raises(GroupStartedError):
            run(tmp_path, examples, transform_graph, taxonomy_file)
    swapped = tmp_path / "examples"
    shutil.copytree(examples, swapped)
    chairs, sofas = (
        [taxonomy.class_id(node) for node in taxonomy.path(leaf)] for leaf in ("chairs", "sofas")
    )
    # Two products, each with as many images, swap their labels: no count and no mean changes.
    relabel(swapped, "train", {"chair-0": sofas, "sofa-0": chairs})
    with pytest.raises(InputError, match="other examples, classes or parameters"):
        run(tmp_path, swapped, transform_graph, taxonomy_file)


@pytest.mark.slow
def test_the_figures_tell_how_fast_it_went(
    tmp_path, examples, transform_graph, taxonomy_file, monkeypatch
):
    """The group is one worker, in this process."""
    monkeypatch.setattr("components.train.train.run_group", lambda spec, *a, **k: train(spec))
    config = TrainConfig.from_mapping({**CONFIG.to_mapping(), "epochs": 1, "workers": 1})
    figures = run(tmp_path, examples, transform_graph, taxonomy_file, config=config)
    last = read_json(tmp_path / "encoder/curves.json")[-1]
    for name in (
        "images_per_second", "steps_per_second", "input_stall_share", "scaling_efficiency",
    ):  # fmt: skip
        assert figures[name] == last[name]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"<b>{last['steps_per_second']:.2f}</b><span>steps a second" in page


def test_checkpoints_of_another_run_are_refused(tmp_path, examples, transform_graph, taxonomy_file):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/identity.json").write_text(json.dumps({"digest": "other"}))
    with pytest.raises(InputError, match="give an empty directory"):
        run(tmp_path, examples, transform_graph, taxonomy_file)


def test_examples_of_another_taxonomy_are_refused(
    tmp_path, examples, transform_graph, taxonomy_file
):
    small = tmp_path / "taxonomy.csv"
    Taxonomy.parse(b"taxon_id,parent_id,name\nroot,,All\nhats,root,Hats\n").write(small)
    with pytest.raises(InputError, match="run transform again"):
        run(tmp_path, examples, transform_graph, small)


def spec_of_a_run(tmp_path, examples, taxonomy, **changes) -> Path:
    changes = {"epochs": 10_000, "workers": 2, **changes}
    config = TrainConfig.from_mapping({**CONFIG.to_mapping(), **changes})
    spec = Spec(
        examples=examples,
        checkpoints=tmp_path / "checkpoints",
        output=tmp_path / "output",
        initial_weights=None,
        config=config,
        labels=read_labels(examples, taxonomy),
    )
    spec.write(tmp_path / "spec.json")
    return tmp_path / "spec.json"


def launch(spec: Path) -> subprocess.Popen[str]:
    """The launcher in a process of its own; what it says is on standard error."""
    code = (
        "import sys; from pathlib import Path\n"
        "from components.contracts.errors import LookalikeError\n"
        "from components.train.local_group import run_workers\n"
        "from components.train.worker import Spec\n"
        "spec = Spec.read(Path(sys.argv[1]))\n"
        "try:\n"
        "    run_workers(Path(sys.argv[1]), config=spec.config, heartbeats=spec.heartbeats)\n"
        "except LookalikeError as error:\n    print(error); sys.exit(7)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(spec)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def workers_of(spec: Path) -> list[int]:
    """The processes whose command line names the spec."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"-m\0components.train\0" in command and str(spec).encode() in command:
                found.append(int(entry.name))
    return sorted(found)


def wait_for(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def step_of(spec: Path) -> int:
    """The step that the first worker says it is at."""
    try:
        return int(read_json(Spec.read(spec).heartbeats / "worker-0.json")["step"])
    except InputError:
        return -1


@pytest.mark.multiprocess
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find the workers")
def test_no_worker_outlives_a_killed_launcher(tmp_path, examples, taxonomy):
    spec = spec_of_a_run(tmp_path, examples, taxonomy)
    launcher = launch(spec)
    try:
        assert wait_for(lambda: len(workers_of(spec)) == 2)
        launcher.kill()
        launcher.communicate(timeout=30)
        assert wait_for(lambda: not workers_of(spec), seconds=20)
    finally:
        launcher.kill()
        launcher.communicate()


@pytest.mark.multiprocess
def test_a_worker_that_fails_is_told_with_its_last_lines(tmp_path):
    with pytest.raises(WorkerError, match=r"(?s)worker \d ended with code 2.*expected a JSON file"):
        run_workers(tmp_path / "missing.json", config=CONFIG, heartbeats=tmp_path / "beats")
    assert not workers_of(tmp_path / "missing.json")


@pytest.mark.multiprocess
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find the workers")
def test_a_lost_worker_costs_a_restart_and_no_step(tmp_path, examples, taxonomy):
    spec = spec_of_a_run(tmp_path, examples, taxonomy, epochs=20)
    launcher = launch(spec)
    try:
        assert wait_for(lambda: step_of(spec) >= 4), launcher.communicate()
        first = workers_of(spec)
        os.kill(first[1], signal.SIGKILL)
        killed = time.monotonic()
        assert wait_for(lambda: set(workers_of(spec)) - set(first), seconds=30)
        assert time.monotonic() - killed < 30
        _, said = launcher.communicate(timeout=180)
    finally:
        launcher.kill()
        launcher.communicate()
    assert launcher.returncode == 0, said
    assert "worker 1 was killed by SIGKILL" in said
    assert "starting the group again (1 of 3)" in said
    history = read_json(tmp_path / "output/history.json")
    assert [record["epoch"] for record in history] == list(range(1, 21))
    plan = Plan.of(Spec.read(spec).config, Statistics.read(examples).train)
    assert Checkpoints(tmp_path / "checkpoints", keep=2).latest().step == plan.total_steps


@pytest.mark.multiprocess
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find the workers")
def test_a_launcher_told_to_stop_saves_between_two_epochs(tmp_path, examples, taxonomy):
    spec = spec_of_a_run(tmp_path, examples, taxonomy, checkpoint_every=5_000)
    launcher = launch(spec)
    try:
        assert wait_for(lambda: step_of(spec) >= 2), launcher.communicate()
        launcher.terminate()
        said, _ = launcher.communicate(timeout=60)
    finally:
        launcher.kill()
        launcher.communicate()
    assert launcher.returncode == 7
    assert "the first worker saved first" in said
    assert not workers_of(spec)
    assert Checkpoints(tmp_path / "checkpoints", keep=2).latest().step >= 2


def test_told_to_stop_it_saves_and_goes_on_later(tmp_path, examples, taxonomy):
    whole = trainer(examples, taxonomy, tmp_path / "whole")
    whole.run()
    stop = threading.Event()
    stop.set()
    broken = trainer(examples, taxonomy, tmp_path / "broken", stop=stop)
    with pytest.raises(PreemptedError, match="saved at step 1"):
        broken.run()
    resumed = trainer(examples, taxonomy, tmp_path / "broken")
    assert resumed.step == 1
    resumed.run()
    for one, other in zip(whole.network.weights, resumed.network.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)


def test_a_loss_that_is_no_number_names_the_items(tmp_path, examples, taxonomy):
    broken = trainer(examples, taxonomy, tmp_path, learning_rate=1e30, warmup_epochs=0.0, epochs=4)
    with pytest.raises(
        LookalikeError, match=r"not a number at step \d+.*items.*(chair|sofa|lamp)-"
    ):
        broken.run()


def test_a_checkpoint_of_another_network_is_refused(tmp_path, examples, taxonomy):
    stop = threading.Event()
    stop.set()
    with pytest.raises(PreemptedError):
        trainer(examples, taxonomy, tmp_path, stop=stop).run()
    with pytest.raises(InputError, match="the checkpoint of step 1 belongs to another network"):
        trainer(examples, taxonomy, tmp_path, embedding_dim=8)
