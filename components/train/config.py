"""What can be set for a training run, with the demo's recipe as defaults."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.contracts.errors import InputError
from components.train.augment_config import Augmentation

DEPTHS = (10, 18, 34, 50)
PRECISIONS = ("auto", "float32", "bfloat16")
SYNC_BATCH_NORM = ("auto", "always", "never")
EMPTY_LEAVES = ("refuse", "allow")
# Batch statistics of this many examples are as good as any (Goyal et al., 2017, section 2.3).
_ENOUGH_EXAMPLES = 32


@dataclass(frozen=True)
class TrainConfig:
    """Parameters of one training run.

    Attributes:
        depth: Layers of the ResNet: 18, 34 or 50; 10 for trials.
        width: Channels of the first stage; each later stage doubles them.
        input_size: Height and width that the encoder sees, in pixels.
        early_input_size: Height and width during the first part of the training, in pixels.
        early_share: Share of the optimiser steps that use `early_input_size`, 0 to below 1.
        embedding_dim: Length of the embedding.
        epochs: Passes over the training examples; 0 keeps the random initial weights.
        batch_size: Examples a step, over all workers together.
        learning_rate: Peak learning rate.
        warmup_epochs: Epochs of linear warm-up before the cosine decay.
        momentum: Nesterov momentum, 0 to below 1.
        weight_decay: L2 penalty on kernels (not on normalisation), a factor of the weight.
        label_smoothing: Probability that is spread over all classes, 0 to below 1.
        logit_scale: Factor on cosines before the softmax.
        product_weight: Weight of the loss over products.
        leaf_weight: Weight of the loss over the deepest level of the taxonomy.
        ancestor_weight: Weight of the loss over each level above.
        margin: How much closer than any other an example must come to its class, in cosine.
        tree_smoothing: Whether smoothing prefers classes that are near in the taxonomy.
        contrastive_weight: Weight of the contrastive loss over products; wants views_per_product.
        contrastive_temperature: What its cosines are divided by.
        views_per_product: Views of one product that come together in a batch; 1 mixes freely.
        catalog_weight: Weight of finding an image's own catalog view beside those of the other
            products, among the examples of one device; 0 saves a forward pass a step.
        catalog_temperature: What the cosines of that are divided by.
        foreground_weight: Weight of telling the product from its white background, cell by cell,
            in the middle of the network; while training only. Images without one teach nothing.
        class_balance: How far rare types are shown more often: 0 as they come, 1 all equally.
        squeeze_excite: Whether blocks weigh their channels (Hu et al., 2018).
        antialias: Whether the stem blurs before it halves the image (Zhang, 2019).
        flip_average: Whether an embedding averages an image and its mirror image.
        precision: Arithmetic of the convolutions while training: `float32`, `bfloat16`, or `auto`
            for bfloat16 where the processor has it.
        sync_batch_norm: Whether batch normalisation sees the examples of all workers: `always`,
            `never`, or `auto` where a worker alone has fewer than 32, too few for its statistics
            (Goyal et al., 2017). Each of some twenty layers costs two exchanges a step.
        workers: Training processes.
        threads: Threads a worker; 0 shares the machine's cores out.
        seed: Seed of weights, order and augmentation.
        checkpoint_every: Epochs between checkpoints.
        checkpoints_kept: How many checkpoints are kept.
        evaluate_every: Epochs between evaluations on the products held out.
        restarts: How often a group that lost a worker is started again, from the last checkpoint.
        stall_seconds: How long a group may make no step before it is started again, in seconds.
        cache_megabytes: Decoded training examples are kept in memory up to this size a worker.
        empty_leaves: What becomes of a taxonomy with a leaf that has no image: `refuse`, or `allow`
            to train without. Leaves that transform trains at their parent, and leaves all of whose
            products are held out, are reported and never refused.
        augmentation: How far a training image may stray from the catalog view.
    """

    depth: int = 18
    width: int = 32
    input_size: int = 64
    early_input_size: int = 64
    early_share: float = 0.0
    embedding_dim: int = 128
    epochs: int = 45
    batch_size: int = 128
    learning_rate: float = 0.1
    warmup_epochs: float = 2.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    logit_scale: float = 12.0
    product_weight: float = 1.0
    leaf_weight: float = 0.5
    ancestor_weight: float = 0.25
    margin: float = 0.0
    tree_smoothing: bool = False
    contrastive_weight: float = 0.0
    contrastive_temperature: float = 0.1
    views_per_product: int = 1
    catalog_weight: float = 1.0
    catalog_temperature: float = 0.125
    foreground_weight: float = 1.0
    class_balance: float = 0.0
    squeeze_excite: bool = False
    antialias: bool = False
    flip_average: bool = True
    precision: str = "auto"
    sync_batch_norm: str = "auto"
    workers: int = 2
    threads: int = 0
    seed: int = 0
    checkpoint_every: int = 5
    checkpoints_kept: int = 2
    evaluate_every: int = 5
    restarts: int = 3
    stall_seconds: float = 600.0
    cache_megabytes: int = 1024
    empty_leaves: str = "refuse"
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Refuses what cannot be trained.

        Raises:
            InputError: A field is out of its range; the message names it.
        """
        for name, choices in _CHOICES.items():
            chosen = getattr(self, name)
            _require(chosen in choices, name, f"one of {choices}", chosen)
        for name, least in _LEAST.items():
            _require(getattr(self, name) >= least, name, f"at least {least}", getattr(self, name))
        for name in ("early_share", "momentum", "label_smoothing"):
            _require(0 <= getattr(self, name) < 1, name, "0 to below 1", getattr(self, name))
        for name in (
            "learning_rate",
            "logit_scale",
            "contrastive_temperature",
            "catalog_temperature",
        ):
            _require(getattr(self, name) > 0, name, "more than 0", getattr(self, name))
        _require(
            self.batch_size % self.workers == 0,
            "batch_size",
            f"a multiple of the {self.workers} workers",
            self.batch_size,
        )
        _require(self.class_balance <= 1, "class_balance", "0 to 1", self.class_balance)
        per_worker = self.batch_size // self.workers
        _require(
            per_worker % self.views_per_product == 0,
            "views_per_product",
            f"a divisor of the {per_worker} examples a worker",
            self.views_per_product,
        )
        _require(
            not self.contrastive_weight or self.views_per_product > 1,
            "contrastive_weight",
            "0 while views_per_product is 1: a product has no other view in its batch",
            self.contrastive_weight,
        )
        _require(
            max(self.product_weight, self.leaf_weight, self.ancestor_weight) > 0,
            "product_weight",
            "at least one of product_weight, leaf_weight and ancestor_weight above 0",
            self.product_weight,
        )

    def check_devices(self, replicas: int) -> None:
        """Refuses a batch that the devices cannot share out evenly.

        Args:
            replicas: Devices, over all workers, that share a batch.

        Raises:
            InputError: There would be a rest.
        """
        _require(
            self.batch_size % replicas == 0,
            "batch_size",
            f"a multiple of the {replicas} devices that share a batch",
            self.batch_size,
        )

    def synchronizes_batch_norm(self, replicas: int) -> bool:
        """Returns whether batch normalisation sees the examples of all devices.

        Args:
            replicas: Devices, over all workers, that share a batch.
        """
        if self.sync_batch_norm == "auto":
            return self.batch_size // replicas < _ENOUGH_EXAMPLES
        return self.sync_batch_norm == "always"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Builds a config from plain values, such as those of a YAML file or of a pipeline.

        Args:
            values: Field names with values; `augmentation` is a mapping itself. Whole numbers may
                come as floats, as JSON from the pipeline has them.

        Raises:
            InputError: A name is unknown, or a value has the wrong type or range.
        """
        plain = _typed(cls, {k: v for k, v in values.items() if k != "augmentation"}, "train")
        nested = values.get("augmentation", {})
        if not isinstance(nested, Mapping):
            raise InputError(
                f"train.augmentation: expected a mapping, received {type(nested).__name__}"
            )
        augmentation = Augmentation(**_typed(Augmentation, nested, "train.augmentation"))
        return cls(**plain, augmentation=augmentation)

    def to_mapping(self) -> dict[str, Any]:
        """Returns plain values that `from_mapping` reads back."""
        return dataclasses.asdict(self)


def read_options(text: str, *, taken: Container[str]) -> dict[str, Any]:
    """Reads the pipeline's parameter `train.options`.

    Args:
        text: A JSON object of fields of `TrainConfig`; empty for none.
        taken: The fields that have a parameter of their own.

    Returns:
        Value by field, to be checked by `TrainConfig.from_mapping`.

    Raises:
        InputError: The text is not a JSON object, or sets what has a parameter of its own.
    """
    values = json_object(text, "train.options")
    for name in values:
        if name in taken:
            raise InputError(
                f"train.options: expected no {name}, which is a parameter of its own; set "
                f"train.{name} instead"
            )
    return values


def json_object(text: str, where: str) -> dict[str, Any]:
    """Parses a parameter that takes a JSON object; empty text is an empty one.

    Raises:
        InputError: The text is something else.
    """
    try:
        values = json.loads(text or "{}")
    except ValueError as error:
        raise InputError(
            f'{where}: expected a JSON object, such as {{"name": 1}}, received a text that is '
            f"none ({error}); correct it"
        ) from None
    if not isinstance(values, dict):
        raise InputError(
            f'{where}: expected a JSON object, such as {{"name": 1}}, received '
            f"{type(values).__name__}; correct it"
        )
    return values


_CHOICES: Mapping[str, tuple[object, ...]] = {
    "depth": DEPTHS,
    "precision": PRECISIONS,
    "sync_batch_norm": SYNC_BATCH_NORM,
    "empty_leaves": EMPTY_LEAVES,
}
_LEAST: Mapping[str, float] = {
    "width": 1,
    "input_size": 16,
    "early_input_size": 16,
    "embedding_dim": 2,
    "epochs": 0,
    "batch_size": 2,
    "warmup_epochs": 0,
    "weight_decay": 0,
    "product_weight": 0,
    "leaf_weight": 0,
    "ancestor_weight": 0,
    "margin": 0,
    "contrastive_weight": 0,
    "views_per_product": 1,
    "catalog_weight": 0,
    "foreground_weight": 0,
    "class_balance": 0,
    "workers": 1,
    "threads": 0,
    "seed": 0,
    "checkpoint_every": 1,
    "checkpoints_kept": 1,
    "evaluate_every": 1,
    "restarts": 0,
    "stall_seconds": 30,
    "cache_megabytes": 0,
}


def _require(condition: bool, name: str, expected: str, received: object) -> None:
    if not condition:
        raise InputError(f"train.{name}: expected {expected}, received {received!r}; change it")


def _typed(owner: type[Any], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Checks names and types against the defaults of a dataclass."""
    defaults = {f.name: f.default for f in dataclasses.fields(owner)}
    known = ", ".join(sorted(defaults))
    typed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in defaults:
            raise InputError(f"{where}.{name}: no such parameter; there are {known}")
        typed[name] = _cast(value, defaults[name], f"{where}.{name}")
    return typed


def _cast(value: Any, default: Any, where: str) -> Any:
    """Returns `value` as the default's type, or refuses it."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
    elif isinstance(default, int):
        if number and float(value).is_integer():
            return int(value)
    elif isinstance(default, float):
        if number:
            return float(value)
    elif isinstance(default, tuple):
        if isinstance(value, list | tuple) and len(value) == len(default):
            return tuple(_cast(v, d, where) for v, d in zip(value, default, strict=True))
    elif isinstance(value, type(default)):
        return value
    expected = type(default).__name__
    raise InputError(f"{where}: expected a value like {default!r} ({expected}), received {value!r}")
