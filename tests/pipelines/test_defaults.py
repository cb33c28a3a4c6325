"""A parameter's default stands in three signatures; they agree."""

from __future__ import annotations

import inspect

import pytest

from components.catalog.config import CatalogConfig
from components.embed.config import EmbedConfig
from components.evaluate.config import EvaluateConfig
from components.human_eval.config import GateConfig
from components.index.config import IndexConfig
from components.train.config import TrainConfig
from components.transform.config import TransformConfig
from pipelines.compiled import STEPS, VISUAL_SEARCH
from pipelines.local.ir import read_pipeline

CONFIGS = {
    "catalog": CatalogConfig(),
    "transform": TransformConfig(),
    "train": TrainConfig(),
    "embed": EmbedConfig(),
    "index": IndexConfig(),
    "evaluate": EvaluateConfig(),
    "human_eval": GateConfig(),
}
# Texts where the config has a tuple; a choice that is not the config's own.
DIFFERENT_KIND = {"transform_beam_options", "embed_beam_options"}


def component(step: str):
    module = __import__(f"components.{step}.component", fromlist=[step])
    return getattr(module, step)


@pytest.mark.parametrize("step", STEPS)
def test_the_pipeline_and_the_component_agree(step):
    parameters = read_pipeline(VISUAL_SEARCH).parameters
    signature = inspect.signature(component(step).python_func)

    for name, argument in signature.parameters.items():
        if argument.default is not inspect.Parameter.empty:
            assert parameters[f"{step}_{name}"].default == argument.default, name


@pytest.mark.parametrize("step", CONFIGS)
def test_the_component_and_the_config_agree(step):
    parameters = read_pipeline(VISUAL_SEARCH).parameters
    config = CONFIGS[step]
    shared = {
        name: parameter.default
        for name, parameter in parameters.items()
        if name.startswith(f"{step}_")
        and hasattr(config, name.removeprefix(f"{step}_"))
        and name not in DIFFERENT_KIND
    }

    assert shared
    assert shared == {name: getattr(config, name.removeprefix(f"{step}_")) for name in shared}
