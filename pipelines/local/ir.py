"""Reads a compiled pipeline (KFP IR) as the list of steps that the local runner executes.

The file that Kubeflow and Vertex run is the file that runs here: interface, wiring, defaults and
the code of each component's body come from it, not from a second description.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.contracts.errors import InputError

Scalar = str | int | float | bool
PARAMETER_TYPES: dict[str, type] = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "BOOLEAN": bool,
}


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


@dataclass(frozen=True)
class Step:
    """One task of the pipeline.

    Attributes:
        name: The task's name, which is also its folder in `components/`.
        function: The component function in `source`.
        source: The component body's Python source, as compiled.
        parameters: Where each parameter's value comes from; a scalar is a constant.
        parameter_types: Python type by parameter, for values that YAML would widen.
        artifacts: Where each input artifact comes from.
        output_artifacts: Schema title by output artifact.
        output_parameters: Names of the output parameters.
        cacheable: Whether the pipeline allows this task's result to be reused.
    """

    name: str
    function: str
    source: str
    parameters: Mapping[str, FromPipeline | FromStep | Scalar]
    parameter_types: Mapping[str, type]
    artifacts: Mapping[str, FromStep]
    output_artifacts: Mapping[str, str]
    output_parameters: tuple[str, ...]
    cacheable: bool


@dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline.

    Attributes:
        name: The pipeline's name.
        parameters: By name.
        steps: In an order in which they can run.
    """

    name: str
    parameters: Mapping[str, Parameter]
    steps: tuple[Step, ...]


def read_pipeline(path: Path) -> Pipeline:
    """Reads a compiled pipeline.

    Raises:
        InputError: The file is not a compiled pipeline, or uses what the local runner cannot run.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: expected a compiled pipeline ({error})") from None
    try:
        return _pipeline(document)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: expected a compiled pipeline (KFP IR), could not find {error}; "
            "write it with: lookalike compile"
        ) from None


def _pipeline(document: dict[str, Any]) -> Pipeline:
    root = document["root"]
    definitions = root.get("inputDefinitions", {}).get("parameters", {})
    parameters = {
        name: Parameter(
            name=name,
            type=PARAMETER_TYPES[definition["parameterType"]],
            default=_typed(definition.get("defaultValue"), definition["parameterType"]),
            description=definition.get("description", ""),
        )
        for name, definition in definitions.items()
    }
    tasks = root["dag"]["tasks"]
    steps = [_step(name, tasks[name], document) for name in _ordered(tasks)]
    return Pipeline(document["pipelineInfo"]["name"], parameters, tuple(steps))


def _typed(value: Any, parameter_type: str) -> Scalar | None:
    return None if value is None else PARAMETER_TYPES[parameter_type](value)


def _ordered(tasks: dict[str, Any]) -> list[str]:
    """Returns the task names, each after those it depends on."""
    ordered: list[str] = []
    waiting = dict(tasks)
    while waiting:
        ready = [
            name
            for name, task in waiting.items()
            if all(other in ordered for other in task.get("dependentTasks", ()))
        ]
        if not ready:
            raise InputError(f"the tasks {', '.join(waiting)} wait for each other")
        for name in ready:
            ordered.append(name)
            del waiting[name]
    return ordered


def _folder(task: str) -> str:
    """Returns the step's folder: kfp writes task names with hyphens."""
    return task.replace("-", "_")


def _step(name: str, task: dict[str, Any], document: dict[str, Any]) -> Step:
    component = document["components"][task["componentRef"]["name"]]
    if "executorLabel" not in component:
        raise InputError(f"task {name!r} is a sub-pipeline; the local runner runs plain tasks")
    executor = document["deploymentSpec"]["executors"][component["executorLabel"]]
    container = executor["container"]
    arguments = container["args"]
    inputs = task.get("inputs", {})
    types = {
        key: PARAMETER_TYPES[definition["parameterType"]]
        for key, definition in component.get("inputDefinitions", {}).get("parameters", {}).items()
    }
    outputs = component.get("outputDefinitions", {})
    return Step(
        name=_folder(name),
        function=arguments[arguments.index("--function_to_execute") + 1],
        source=container["command"][-1],
        parameters={
            key: _parameter(value, types[key])
            for key, value in inputs.get("parameters", {}).items()
        },
        parameter_types=types,
        artifacts={
            key: FromStep(
                _folder(value["taskOutputArtifact"]["producerTask"]),
                value["taskOutputArtifact"]["outputArtifactKey"],
            )
            for key, value in inputs.get("artifacts", {}).items()
        },
        output_artifacts={
            key: definition["artifactType"]["schemaTitle"]
            for key, definition in outputs.get("artifacts", {}).items()
        },
        output_parameters=tuple(outputs.get("parameters", {})),
        cacheable=bool(task.get("cachingOptions", {}).get("enableCache", False)),
    )


def _parameter(value: dict[str, Any], kind: type) -> FromPipeline | FromStep | Scalar:
    if "componentInputParameter" in value:
        return FromPipeline(value["componentInputParameter"])
    if "taskOutputParameter" in value:
        source = value["taskOutputParameter"]
        return FromStep(_folder(source["producerTask"]), source["outputParameterKey"])
    return kind(value["runtimeValue"]["constant"])  # type: ignore[no-any-return]
