"""Checks every value of a run before anything starts, by the very rules that the steps apply.

A step's settings are a dataclass that refuses what could not be meant, by name. Building it here
costs nothing and saves the hour that lies between a typing mistake and the step that finds it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from components.contracts.beam_options import check_beam_options, split_beam_options
from components.contracts.errors import InputError
from components.outcome.webhook import check_secret
from components.registry.channel import check_channel
from components.train.config import read_options
from pipelines.local.ir import Scalar

_CONFIGS = {
    "catalog": "components.catalog.config:CatalogConfig",
    "transform": "components.transform.config:TransformConfig",
    "train": "components.train.config:TrainConfig",
    "embed": "components.embed.config:EmbedConfig",
    "index": "components.index.config:IndexConfig",
    "evaluate": "components.evaluate.config:EvaluateConfig",
    "human_eval": "components.human_eval.config:GateConfig",
}
_CHOICES = {
    "mode": ("auto", "scratch", "warm", "reuse"),
    "raters": ("web", "simulated", "none"),
    "human_eval_policy": ("production", "demo"),
    "human_eval_after_failed_evaluation": ("skip", "ask"),
}
_SHARES = ("catalog_max_changed_share",)
_WAITS = ("human_eval_wait_minutes", "judge_wait_minutes")
_BEAM = ("transform_beam_options", "embed_beam_options")
_LONGEST_WAIT = 7 * 24 * 60


def check_values(values: Mapping[str, Scalar]) -> None:
    """Refuses a value that a step would refuse later.

    Args:
        values: Value by the pipeline's parameter; those left out keep their defaults.

    Raises:
        InputError: A value is outside its range; the message names it and what would do.
    """
    for name, choices in _CHOICES.items():
        if name in values and values[name] not in choices:
            raise InputError(
                f"{_dotted(name)}: expected one of {', '.join(choices)}, received {values[name]!r}"
            )
    for name in _SHARES:
        if name in values and not 0 <= float(values[name]) <= 1:
            raise InputError(
                f"{_dotted(name)}: expected a share from 0 to 1, received {values[name]}"
            )
    for name in _WAITS:
        if name in values and not 0 <= float(values[name]) <= _LONGEST_WAIT:
            raise InputError(
                f"{_dotted(name)}: expected 0 to {_LONGEST_WAIT} minutes (a week), received "
                f"{values[name]}"
            )
    for name in _BEAM:
        text = str(values.get(name, ""))
        check_beam_options(split_beam_options(text, _dotted(name)), _dotted(name))
    check_secret(str(values.get("notify_webhook_secret", "")), "notify.webhook_secret")
    if "channel" in values:
        check_channel(values["channel"])
    for step, place in _CONFIGS.items():
        module, name = place.split(":")
        config = getattr(importlib.import_module(module), name)
        # A field of the same name and kind; beam_options is a text here and a tuple there.
        known = {
            field.name
            for field in fields(config)
            if isinstance(getattr(config, field.name, None), str | int | float)
        }
        given: dict[str, Any] = {
            key.removeprefix(f"{step}_"): value
            for key, value in values.items()
            if key.startswith(f"{step}_") and key.removeprefix(f"{step}_") in known
        }
        if step == "train":
            # What has no parameter of its own comes in one JSON text.
            given.update(read_options(str(values.get("train_options", "")), taken=given))
            config.from_mapping(given)
        elif given:
            config(**given)


def _dotted(parameter: str) -> str:
    for step in (*_CONFIGS, "judge", "promote", "notify"):
        if parameter.startswith(f"{step}_"):
            return f"{step}.{parameter.removeprefix(f'{step}_')}"
    return parameter
