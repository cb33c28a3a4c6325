"""The train step: from examples to an encoder that turns image bytes into unit vectors."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from components.contracts.encoder import (
    ENCODER_FILE,
    SAVED_MODEL_DIRECTORY,
    TRAINED_PRODUCTS_FILE,
    read_encoder,
)
from components.contracts.errors import InputError
from components.contracts.files import (
    fresh_directory,
    read_json,
    sha256_bytes,
    sha256_file,
    sha256_tree,
    write_atomically,
    write_json,
)
from components.contracts.taxonomy import Taxonomy
from components.train.backend_config import BackendConfig
from components.train.config import TrainConfig
from components.train.gpus import usable_gpus, workers_for
from components.train.labels import EmptyLeaves, LabelSpace
from components.train.launcher import run_group
from components.train.model_card import model_card, to_markdown
from components.train.plan import Plan
from components.train.report import training_report
from components.train.worker import HISTORY_FILE, WEIGHTS_FILE, Spec

if TYPE_CHECKING:
    import keras

    from components.train.data import Statistics

MODES = ("scratch", "warm", "reuse")
CURVES_FILE = "curves.json"
CARD_FILE = "model_card.json"
CONFUSIONS_FILE = "confusions.json"
_CHECKED_IMAGES = 8
_UPKEEP = frozenset(
    {"checkpoint_every", "checkpoints_kept", "empty_leaves", "restarts", "stall_seconds"}
)


def train_encoder(
    *,
    examples: Path,
    transform_graph: Path,
    taxonomy: Path,
    mode: str,
    incumbent_encoder: Path | None,
    config: TrainConfig,
    encoder: Path,
    checkpoints: Path,
    report: Path,
    backend: BackendConfig | None = None,
) -> dict[str, float]:
    """Trains an encoder, or takes over the incumbent's, and writes the encoder artifact.

    A step that was killed goes on from its last checkpoint when it is run again with the same
    `checkpoints` directory.

    Args:
        examples: The examples directory that transform wrote.
        transform_graph: The TensorFlow Transform output of the same run.
        taxonomy: The checked taxonomy table.
        mode: `scratch` starts from random weights, `warm` from the incumbent's, `reuse` copies
            the incumbent's encoder untouched and trains nothing.
        incumbent_encoder: The live encoder's directory; needed by `warm` and `reuse`.
        config: The parameters.
        encoder: Directory to write.
        checkpoints: Directory of the checkpoints.
        report: HTML file to write.
        backend: Where the group runs; None for processes on this machine.

    Returns:
        Figures to show: the last loss, right first guesses by level on augmented training images
        (`train_...`) and on products never trained on (`unseen_...`), images and steps a second,
        the share of time spent waiting for input, the scaling efficiency, and how many leaves of
        the taxonomy have no training example.

    Raises:
        InputError: The mode, the examples or the incumbent cannot be used.
        WorkerError: A training process failed.
    """
    # The memory of the GPUs is the workers': this process, which only reads and exports, takes of
    # it what it needs and not all.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    incumbent = _incumbent(mode, incumbent_encoder)
    if mode == "reuse" and incumbent is not None:
        return _reuse(incumbent, encoder, report)
    place = backend or BackendConfig()
    if place.backend == "local":
        config = _fit_to_gpus(config)
    tree = Taxonomy.read(taxonomy)
    labels, empty = _read_classes(examples, tree)
    if config.empty_leaves == "refuse":
        empty.refuse()
    _check_examples(examples, transform_graph, config)
    spec = Spec(
        examples=examples,
        checkpoints=checkpoints,
        output=checkpoints / "result",
        initial_weights=incumbent / WEIGHTS_FILE if incumbent else None,
        config=config,
        labels=labels,
    )
    _check_initial_weights(spec)
    digest = _guard_checkpoints(spec)
    if not (spec.output / HISTORY_FILE).is_file():
        if config.epochs == 0:
            # No step, no group: the initial weights are made right here.
            from components.train.worker import train  # noqa: PLC0415

            train(spec)
        else:
            # Elsewhere what is staged outlives a release, whose code may train otherwise.
            name = sha256_bytes(f"{digest} {_code_digest()} {place.image}".encode())
            run_group(spec, place, name=name[:12])
    history = read_json(spec.output / HISTORY_FILE)
    card = _write_encoder(spec, tree, empty, mode, transform_graph, history, encoder)
    confusions = read_json(encoder / CONFUSIONS_FILE)
    write_atomically(report, training_report(card=card, history=history, confusions=confusions))
    return _figures(history, card)


def read_labels(examples: Path, taxonomy: Taxonomy) -> LabelSpace:
    """Returns the classes of a taxonomy and of the products in the training split.

    Raises:
        InputError: There is no training example, or a label is not in the taxonomy.
    """
    return _read_classes(examples, taxonomy)[0]


def _read_classes(examples: Path, taxonomy: Taxonomy) -> tuple[LabelSpace, EmptyLeaves]:
    """Returns the classes, and which of them no training example shows; one look at the records."""
    # TensorFlow is imported where it is needed: the step's own checks come first.
    from components.train.data import scan  # noqa: PLC0415

    products: set[str] = set()
    trained: set[tuple[int, ...]] = set()
    for product, path in scan(examples, "train"):
        products.add(product)
        trained.add(path)
    if not products:
        raise InputError(
            f"{examples}/train: expected training examples, received none; lower "
            "transform.unseen_fraction, so that fewer products are held out, or look at the "
            "rejects of catalog and the dead letters of transform for what became of the images"
        )
    labels = LabelSpace.of(taxonomy, products)
    labels.check(trained)
    held_out = {path for _, path in scan(examples, "unseen")}
    empty = EmptyLeaves.of(
        taxonomy,
        trained=set().union(*trained),
        held_out=set().union(*held_out),
        rare=read_json(examples / "statistics.json").get("rare_classes", {}),
    )
    return labels, empty


def _fit_to_gpus(config: TrainConfig) -> TrainConfig:
    """Returns the parameters with no more workers than there are GPUs here, if there are any."""
    gpus = usable_gpus(os.environ)
    workers = workers_for(gpus, workers=config.workers, batch_size=config.batch_size)
    if workers != config.workers:
        print(
            f"train: {config.workers} workers were asked for and the GPUs here are {len(gpus)}; "
            f"training with {workers}, one a GPU at least",
            file=sys.stderr,
            flush=True,
        )
    return dataclasses.replace(config, workers=workers)


def _check_examples(examples: Path, transform_graph: Path, config: TrainConfig) -> None:
    """Refuses, before hours of training, what would fail after them or come to nothing."""
    from components.train.data import Statistics  # noqa: PLC0415
    from components.train.export import check_graph  # noqa: PLC0415

    statistics = Statistics.read(examples)
    Plan.of(config, statistics.train)
    check_graph(transform_graph, statistics)


def _check_initial_weights(spec: Spec) -> None:
    """Refuses weights that a worker could not go on from; a group takes minutes to say so."""
    if spec.initial_weights is None:
        return
    import tensorflow as tf  # noqa: PLC0415

    from components.train.data import Statistics  # noqa: PLC0415
    from components.train.heads import build_heads  # noqa: PLC0415
    from components.train.weights import load_weights  # noqa: PLC0415

    config = spec.config
    # The memory of the GPUs is the workers'.
    with tf.device("/cpu:0"):
        network = _network(config, Statistics.read(spec.examples))
        heads = build_heads(spec.labels, embedding_dim=config.embedding_dim, seed=config.seed)
        load_weights(spec.initial_weights, network, heads, spec.labels)


def _network(config: TrainConfig, statistics: Statistics) -> keras.Model:
    """Builds the network as it is exported, in float32."""
    from components.train.resnet import build_resnet  # noqa: PLC0415

    return build_resnet(
        depth=config.depth,
        width=config.width,
        embedding_dim=config.embedding_dim,
        channel_mean=statistics.channel_mean,
        channel_std=statistics.channel_std,
        squeeze_excite=config.squeeze_excite,
        antialias=config.antialias,
    )


def _incumbent(mode: str, incumbent_encoder: Path | None) -> Path | None:
    """Checks the mode and returns the encoder to start from, None for scratch."""
    if mode not in MODES:
        raise InputError(f"train: expected a mode out of {', '.join(MODES)}, received {mode!r}")
    if mode == "scratch":
        return None
    if incumbent_encoder is None:
        raise InputError(
            f"train: mode {mode} starts from the live encoder, and there is none; "
            "run with mode scratch first"
        )
    read_encoder(incumbent_encoder)
    return incumbent_encoder


def _guard_checkpoints(spec: Spec) -> str:
    """Lets a run go on only from checkpoints of the same data and parameters.

    Returns:
        SHA-256 over the data and the parameters.
    """
    initial = spec.initial_weights
    # How a run is kept alive, and what it is let through with, changes nothing in what it computes.
    config = {k: v for k, v in spec.config.to_mapping().items() if k not in _UPKEEP}
    records = sorted(spec.examples.rglob("*.tfrecord"))
    identity = {
        "config": config,
        "labels": spec.labels.to_mapping(),
        "statistics": sha256_file(spec.examples / "statistics.json"),
        # The statistics count: they are the same where two items have each other's labels.
        "records": {str(path.relative_to(spec.examples)): sha256_file(path) for path in records},
        "initial_weights": None if initial is None else sha256_file(initial),
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    path = spec.checkpoints / "identity.json"
    if not path.is_file():
        fresh_directory(spec.checkpoints)
        write_json(path, {"digest": digest})
    elif read_json(path).get("digest") != digest:
        raise InputError(
            f"{spec.checkpoints}: expected checkpoints of this run, received those of a run with "
            "other examples, classes or parameters; give an empty directory"
        )
    return digest


def _write_encoder(
    spec: Spec,
    taxonomy: Taxonomy,
    empty: EmptyLeaves,
    mode: str,
    transform_graph: Path,
    history: list[dict[str, Any]],
    encoder: Path,
) -> dict[str, Any]:
    """Exports the trained weights and writes everything that goes with them."""
    from components.train.confusion import unseen_confusions  # noqa: PLC0415
    from components.train.data import Statistics  # noqa: PLC0415
    from components.train.export import check_export, export_encoder  # noqa: PLC0415
    from components.train.precision import resolve_precision  # noqa: PLC0415
    from components.train.weights import load_network, read_weights  # noqa: PLC0415

    config, labels = spec.config, spec.labels
    statistics = Statistics.read(spec.examples)
    network = _network(config, statistics)
    weights = read_weights(spec.output / WEIGHTS_FILE)
    filled = load_network(network, weights)
    assert filled == len(network.weights), "the workers saved another network"
    fresh_directory(encoder)
    saved_model = encoder / SAVED_MODEL_DIRECTORY
    export_encoder(
        network=network,
        transform_graph=transform_graph,
        saved_model=saved_model,
        stored_size=statistics.stored_size,
        input_size=config.input_size,
        flip_average=config.flip_average,
    )
    difference = check_export(
        saved_model=saved_model,
        network=network,
        transform_graph=transform_graph,
        images=_some_images(spec, statistics.stored_size),
        input_size=config.input_size,
        flip_average=config.flip_average,
    )
    shutil.copyfile(spec.output / WEIGHTS_FILE, encoder / WEIGHTS_FILE)
    write_atomically(
        encoder / TRAINED_PRODUCTS_FILE, "".join(f"{name}\n" for name in labels.products)
    )
    write_json(encoder / CURVES_FILE, history)
    confusions = (
        unseen_confusions(
            spec.examples,
            network=network,
            weights=weights,
            labels=labels,
            taxonomy=taxonomy,
            config=config,
            stored_size=statistics.stored_size,
        )
        if statistics.unseen
        else {}
    )
    write_json(encoder / CONFUSIONS_FILE, confusions)
    sizes = [len(level) for level in labels.levels]
    card = model_card(
        mode=mode,
        parameters=config.to_mapping(),
        precision=resolve_precision(config.precision),
        taxonomy_digest=taxonomy.digest,
        levels=dict(zip(labels.level_names(), sizes, strict=True)),
        empty_leaves=empty.to_mapping(),
        products=len(labels.products),
        examples=statistics.train,
        unseen_examples=statistics.unseen,
        history=history,
        export_difference=difference,
        departments=confusions.get("departments", {}),
    )
    write_json(encoder / CARD_FILE, card)
    write_atomically(encoder / "model_card.md", to_markdown(card))
    # Written last: a directory without it is no encoder.
    write_json(
        encoder / ENCODER_FILE,
        {
            "digest": sha256_tree(saved_model),
            "embedding_dim": config.embedding_dim,
            "input_size": config.input_size,
            "stored_size": statistics.stored_size,
            "depth": config.depth,
            "width": config.width,
            "classes_digest": labels.digest,
            "code": _code_digest(),
            "parameters": config.to_mapping(),
        },
    )
    return card


def _some_images(spec: Spec, stored_size: int) -> npt.NDArray[np.uint8]:
    """Returns a few stored training images, uint8 `[n, stored, stored, 3]`."""
    from components.train.data import stored_images  # noqa: PLC0415

    return stored_images(spec.examples, stored_size=stored_size, count=_CHECKED_IMAGES)


def _reuse(incumbent: Path, encoder: Path, report: Path) -> dict[str, float]:
    """Copies the incumbent's encoder, `encoder.json` last."""
    fresh_directory(encoder)
    for source in sorted(incumbent.rglob("*"), key=lambda path: path.name == ENCODER_FILE):
        target = encoder / source.relative_to(incumbent)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    card = {**read_json(encoder / CARD_FILE), "mode": "reuse"}
    history = read_json(encoder / CURVES_FILE)
    path = encoder / CONFUSIONS_FILE
    confusions = read_json(path) if path.is_file() else {}
    write_atomically(report, training_report(card=card, history=history, confusions=confusions))
    return _figures(history, card)


def _figures(history: list[dict[str, Any]], card: dict[str, Any]) -> dict[str, float]:
    """Returns the figures of the last epoch under flat names."""
    figures = {"epochs": float(len(history)), "export_difference": float(card["export_difference"])}
    # Encoders of earlier versions, taken over in mode reuse, do not say it.
    if "empty_leaves" in card:
        figures["empty_leaves"] = float(card["empty_leaves"]["empty"])
    if history:
        last = history[-1]
        for name in (
            "loss",
            "images_per_second",
            "steps_per_second",
            "input_stall_share",
            "scaling_efficiency",
        ):
            # Nor do they have all of these.
            if name in last:
                figures[name] = float(last[name])
        for split in ("train", "unseen"):
            for level, share in last.get(split, {}).items():
                figures[f"{split}_{level}"] = float(share)
    return figures


def _code_digest() -> str:
    """Returns one SHA-256 over the source of this package."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(f"{path.name}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()
