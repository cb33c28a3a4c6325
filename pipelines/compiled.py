"""Where the compiled pipeline lies, and which of its parameters a person sets."""

from __future__ import annotations

from pathlib import Path

from components.contracts.errors import LookalikeError
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


def check_fresh(pipeline: Pipeline) -> None:
    """Compares the compiled bodies with the components' source, which takes no time.

    Raises:
        LookalikeError: A component was changed and the pipeline not compiled again: what runs
            would not be what stands in the code.
    """
    for step in pipeline.steps:
        component = Path(__file__).parents[1] / "components" / step.name / "component.py"
        body = step.source[step.source.index("\ndef ") :].strip()
        if component.exists() and body not in component.read_text(encoding="utf-8"):
            raise LookalikeError(
                f"{VISUAL_SEARCH.name} is older than components/{step.name}/component.py; "
                "compile it again: lookalike compile"
            )
