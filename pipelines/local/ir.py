"""What a compiled pipeline (KFP IR) says, as the list of steps that the local runner executes.

The file that Kubeflow and Vertex run is the file that runs here: interface, wiring, defaults,
branches, the exit handler and the code of each component's body come from it, not from a second
description. `pipelines.local.ir_graph` turns its nested graphs into this flat list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.contracts.errors import InputError
from pipelines.local.conditions import Condition

Scalar = str | int | float | bool
PARAMETER_TYPES: dict[str, type] = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "BOOLEAN": bool,
}
BELOW_THE_STEPS = ("contracts", "registry", "search")
"""The packages of `components/` that every step builds on."""
# What the backend writes where a constant names the run that it is part of.
RUN_ID = "{{$.pipeline_job_uuid}}"


@dataclass(frozen=True)
class Parameter:
    """A typed parameter of the pipeline.

    Attributes:
        name: As the pipeline calls it.
        type: The Python type of its values.
        default: Its default; None when the caller must give one.
        description: For people.
    """

    name: str
    type: type
    default: Scalar | None
    description: str

    def parse(self, text: str) -> Scalar:
        """Returns `text` as a value of this parameter's type.

        Raises:
            InputError: It is not one.
        """
        if self.type is bool:
            lowered = text.strip().lower()
            if lowered in ("true", "false"):
                return lowered == "true"
            raise InputError(f"{self.name}: expected true or false, received {text!r}")
        try:
            return self.type(text)  # type: ignore[no-any-return]
        except ValueError:
            kind = {int: "a whole number", float: "a number"}[self.type]
            raise InputError(f"{self.name}: expected {kind}, received {text!r}") from None


@dataclass(frozen=True)
class FromPipeline:
    """A value that the pipeline's own parameter gives."""

    name: str


@dataclass(frozen=True)
class FromStep:
    """A value or artifact that an earlier step gives."""

    step: str
    output: str


Source = FromPipeline | FromStep | Scalar


@dataclass(frozen=True)
class Branch:
    """What must hold for the steps of a branch to run.

    Attributes:
        name: What the UI shows on the branch.
        condition: The condition.
        values: Where the value of each name in it comes from.
    """

    name: str
    condition: Condition
    values: Mapping[str, Source]


@dataclass(frozen=True)
class Retry:
    """How a task is tried again after a failure that may pass.

    Attributes:
        times: How often, after the first time.
        pause_s: Before the second time, in seconds.
        factor: By how much each later pause is longer.
        longest_pause_s: No pause is longer, in seconds.
    """

    times: int = 0
    pause_s: float = 0.0
    factor: float = 2.0
    longest_pause_s: float = 3600.0

    def pause(self, failures: int) -> float:
        """Returns the seconds to wait after so many failures."""
        return min(self.pause_s * self.factor ** (failures - 1), self.longest_pause_s)


@dataclass(frozen=True)
class Step:
    """One task of the pipeline.

    Attributes:
        name: The task's name, with underscores.
        title: What the UI shows.
        folder: Its folder in `components/`.
        function: The component function in `source`.
        source: The component body's Python source, as compiled.
        parameters: Where each parameter's value comes from; a scalar is a constant.
        parameter_types: Python type by parameter, for values that YAML would widen.
        artifacts: Where each input artifact comes from.
        output_artifacts: Schema title by output artifact.
        output_parameters: Names of the output parameters.
        cacheable: Whether the pipeline allows this task's result to be reused.
        branches: The branches that it lies in, outermost first.
        timeout_s: How long it may take, in seconds; None for as long as it likes.
        retry: How it is tried again after a failure that may pass.
        status_parameter: The parameter that gets the final status of the steps that this exit
            handler comes after; empty for a plain step.
    """

    name: str
    title: str
    folder: str
    function: str
    source: str
    parameters: Mapping[str, Source]
    parameter_types: Mapping[str, type]
    artifacts: Mapping[str, FromStep]
    output_artifacts: Mapping[str, str]
    output_parameters: tuple[str, ...]
    cacheable: bool
    branches: tuple[Branch, ...] = ()
    timeout_s: float | None = None
    retry: Retry = Retry()
    status_parameter: str = ""

    @property
    def is_exit_handler(self) -> bool:
        """Whether it runs at the end, however the other steps ended."""
        return bool(self.status_parameter)


@dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline.

    Attributes:
        name: The pipeline's name.
        parameters: By name.
        steps: In an order in which they can run; exit handlers last.
    """

    name: str
    parameters: Mapping[str, Parameter]
    steps: tuple[Step, ...]


def read_pipeline(path: Path) -> Pipeline:
    """Reads a compiled pipeline.

    Raises:
        InputError: The file is not a compiled pipeline, or uses what the local runner cannot run.
    """
    from pipelines.local.ir_graph import flatten  # noqa: PLC0415 - it builds on this module's types

    try:
        # The C parser where there is one: the file is read at the start of every run.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: expected a compiled pipeline ({error})") from None
    try:
        return Pipeline(
            name=document["pipelineInfo"]["name"],
            parameters=parameters_of(document),
            steps=flatten(document),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: expected a compiled pipeline (KFP IR), could not find {error}; "
            "write it with: lookalike compile"
        ) from None


def parameters_of(document: Mapping[str, Any]) -> dict[str, Parameter]:
    """Returns the parameters of a compiled pipeline by name; KeyError when it is none."""
    definitions = document["root"].get("inputDefinitions", {}).get("parameters", {})
    return {
        name: Parameter(
            name=name,
            type=PARAMETER_TYPES[definition["parameterType"]],
            default=_typed(definition.get("defaultValue"), definition["parameterType"]),
            description=definition.get("description", ""),
        )
        for name, definition in definitions.items()
    }


def _typed(value: object, parameter_type: str) -> Scalar | None:
    if value is None:
        return None
    return PARAMETER_TYPES[parameter_type](value)  # type: ignore[no-any-return]
