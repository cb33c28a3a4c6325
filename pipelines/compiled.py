"""Where the compiled pipelines lie, and which of their parameters a person sets."""

from __future__ import annotations

from pathlib import Path

from components.contracts.errors import InputError, LookalikeError
from pipelines.local.ir import Parameter, Pipeline
from pipelines.task_names import STEPS
from pipelines.train_fields import Field, train_fields

__all__ = ["FILES", "RELEASE", "STEPS", "VISUAL_SEARCH", "check_fresh", "file_of", "settable"]

VISUAL_SEARCH = Path(__file__).with_name("visual_search.yaml")
RELEASE = Path(__file__).with_name("release.yaml")
FILES = {"visual-search": VISUAL_SEARCH, "release": RELEASE}
"""The committed file of each pipeline, by the pipeline's name."""

# A parameter `train_epochs` is set as `train.epochs`.
_SECTIONS = (*STEPS, "judge", "notify")


def file_of(pipeline: str) -> Path:
    """Returns the committed file of a pipeline.

    Raises:
        InputError: There is no pipeline of that name.
    """
    if pipeline not in FILES:
        raise InputError(f"pipeline {pipeline!r}: expected one of {', '.join(FILES)}")
    return FILES[pipeline]


def settable(pipeline: Pipeline) -> dict[str, Parameter | Field]:
    """Returns the steps' parameters, and the fields folded into one, by dotted name.

    Such as `train.epochs`, and `train.margin`, which `pipelines.settings` folds into
    `train.options`.
    """
    found: dict[str, Parameter | Field] = {}
    for section in _SECTIONS:
        for name, parameter in pipeline.parameters.items():
            if name.startswith(f"{section}_"):
                found[f"{section}.{name.removeprefix(f'{section}_')}"] = parameter
        if section == "train":
            found.update(train_fields(pipeline.parameters))
    return found


def check_fresh(pipeline: Pipeline) -> None:
    """Compares the compiled bodies with the components' source, which takes no time.

    Raises:
        LookalikeError: A component was changed and the pipeline not compiled again: what runs
            would not be what stands in the code.
    """
    for step in pipeline.steps:
        folder = Path(__file__).parents[1] / "components" / step.folder
        sources = [path.read_text(encoding="utf-8") for path in folder.glob("*component.py")]
        body = step.source[step.source.index("\ndef ") :].strip()
        if sources and not any(body in source for source in sources):
            raise LookalikeError(
                f"{FILES.get(pipeline.name, VISUAL_SEARCH).name} is older than "
                f"components/{step.folder}; compile it again: lookalike compile"
            )
