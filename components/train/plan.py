"""How many steps a run takes, with which images, and what each head counts for."""

from __future__ import annotations

from dataclasses import dataclass

from components.contracts.errors import InputError
from components.train.config import TrainConfig


@dataclass(frozen=True)
class Plan:
    """How many steps a run takes, and with which image size.

    Attributes:
        steps_per_epoch: Optimiser steps an epoch.
        total_steps: Optimiser steps of the run.
        early_steps: Steps that use the early input size.
        warmup_steps: Steps of linear warm-up.
    """

    steps_per_epoch: int
    total_steps: int
    early_steps: int
    warmup_steps: int

    @classmethod
    def of(cls, config: TrainConfig, examples: int) -> Plan:
        """Plans a run over a number of training examples; partial batches are left out.

        Raises:
            InputError: There are not enough examples for one batch.
        """
        if config.epochs and examples < config.batch_size:
            raise InputError(
                f"train.batch_size: expected at least {config.batch_size} training examples, a "
                f"batch of the {config.workers} workers together, received {examples}; lower "
                "train.batch_size or train.workers"
            )
        per_epoch = max(1, examples // config.batch_size)
        total = per_epoch * config.epochs
        early = config.early_share if config.early_input_size != config.input_size else 0.0
        return cls(
            steps_per_epoch=per_epoch,
            total_steps=total,
            early_steps=round(per_epoch * round(config.epochs * early)),
            warmup_steps=min(round(per_epoch * config.warmup_epochs), total // 2),
        )


def level_weights(config: TrainConfig, levels: int) -> list[float]:
    """Returns the loss weight of each head: the levels, departments first, then the products."""
    ancestors = [config.ancestor_weight] * max(0, levels - 1)
    return [*ancestors, *([config.leaf_weight] if levels else []), config.product_weight]
