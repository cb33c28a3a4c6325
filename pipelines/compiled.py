"""Where the compiled pipeline lies, and which of its parameters a person sets."""

from __future__ import annotations

from pathlib import Path

from pipelines.local.ir import Parameter, Pipeline

VISUAL_SEARCH = Path(__file__).with_name("visual_search.yaml")
# In the order of the data; a parameter `train_epochs` is set as `train.epochs`.
STEPS = (
    "catalog",
    "transform",
    "train",
    "embed",
    "index",
    "evaluate",
    "human_eval",
    "promote",
)


def settable(pipeline: Pipeline) -> dict[str, Parameter]:
    """Returns the parameters of the steps by dotted name, such as `train.epochs`."""
    return {
        f"{step}.{name.removeprefix(f'{step}_')}": parameter
        for step in STEPS
        for name, parameter in pipeline.parameters.items()
        if name.startswith(f"{step}_")
    }
