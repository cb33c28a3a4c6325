"""From the nested graphs of a compiled pipeline to a flat list of steps.

KFP compiles a branch and what an exit handler guards into graphs of their own, whose inputs are
handed down and whose outputs are handed up. Here every value is followed to where it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.contracts.errors import InputError
from pipelines.local import conditions
from pipelines.local.ir import (
    BELOW_THE_STEPS,
    PARAMETER_TYPES,
    Branch,
    FromPipeline,
    FromStep,
    Retry,
    Source,
    Step,
)

_FOLDER = re.compile(r"^\s*from components\.(\w+)\.", re.MULTILINE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class _Graph:
    """A graph within the pipeline, with what its inputs stand for."""

    tasks: Mapping[str, Any]
    document: Mapping[str, Any]
    parameters: Mapping[str, Source]
    artifacts: Mapping[str, FromStep] = field(default_factory=dict)
    branches: tuple[Branch, ...] = ()
    is_root: bool = False


def flatten(document: Mapping[str, Any]) -> tuple[Step, ...]:
    """Returns the steps in an order in which they can run, exit handlers last.

    Raises:
        InputError: The pipeline uses what the local runner cannot run (a loop, say).
        KeyError: The document is not a compiled pipeline.
    """
    root = _Graph(document["root"]["dag"]["tasks"], document, {}, is_root=True)
    steps = list(_steps(root))
    names = [step.name for step in steps]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"the pipeline has two tasks called {sorted(twice)[0]!r}; rename one")
    return (
        *(step for step in steps if not step.is_exit_handler),
        *(step for step in steps if step.is_exit_handler),
    )


def _steps(graph: _Graph) -> Iterator[Step]:
    for name in _ordered(graph.tasks):
        task = graph.tasks[name]
        component = graph.document["components"][task["componentRef"]["name"]]
        if "parameterIterator" in task or "artifactIterator" in task:
            raise InputError(f"task {name!r} is a loop; the local runner runs steps and branches")
        parameters = {
            key: _parameter(value, graph)
            for key, value in task.get("inputs", {}).get("parameters", {}).items()
            if "taskFinalStatus" not in value
        }
        artifacts = {
            key: _artifact(value, graph)
            for key, value in task.get("inputs", {}).get("artifacts", {}).items()
        }
        branches = (*graph.branches, *_branch(name, task, parameters))
        if "dag" in component:
            yield from _steps(
                _Graph(component["dag"]["tasks"], graph.document, parameters, artifacts, branches)
            )
        else:
            yield _step(name, task, component, graph.document, parameters, artifacts, branches)


def _ordered(tasks: Mapping[str, Any]) -> list[str]:
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


def _branch(
    name: str, task: Mapping[str, Any], parameters: Mapping[str, Source]
) -> tuple[Branch, ...]:
    text = task.get("triggerPolicy", {}).get("condition")
    if text is None:
        return ()
    condition = conditions.parse(text)
    return (
        Branch(
            task.get("taskInfo", {}).get("name", name),
            condition,
            {key: parameters[key] for key in conditions.names(condition)},
        ),
    )


def _parameter(value: Mapping[str, Any], graph: _Graph) -> Source:
    if "componentInputParameter" in value:
        name = value["componentInputParameter"]
        return FromPipeline(name) if graph.is_root else graph.parameters[name]
    if "taskOutputParameter" in value:
        source = value["taskOutputParameter"]
        return _produced(graph, source["producerTask"], source["outputParameterKey"], "parameters")
    return value["runtimeValue"]["constant"]  # type: ignore[no-any-return]


def _artifact(value: Mapping[str, Any], graph: _Graph) -> FromStep:
    if "componentInputArtifact" in value:
        return graph.artifacts[value["componentInputArtifact"]]
    source = value["taskOutputArtifact"]
    return _produced(graph, source["producerTask"], source["outputArtifactKey"], "artifacts")


def _produced(graph: _Graph, task: str, output: str, kind: str) -> FromStep:
    """Follows an output down to the step that gives it."""
    tasks, name = graph.tasks, task
    while True:
        component = graph.document["components"][tasks[name]["componentRef"]["name"]]
        if "dag" not in component:
            return FromStep(_python_name(name), output)
        given = component["dag"]["outputs"][kind][output]
        if "artifactSelectors" in given and len(given["artifactSelectors"]) == 1:
            given = {"one": given["artifactSelectors"][0]}
        inner = given.get("valueFromParameter") or given.get("one")
        if inner is None:
            raise InputError(
                f"output {output!r} of {name!r} is chosen among branches (OneOf); the local "
                "runner follows an output to one step"
            )
        tasks, name = component["dag"]["tasks"], inner["producerSubtask"]
        output = inner.get("outputParameterKey") or inner["outputArtifactKey"]


def _python_name(task: str) -> str:
    """Returns a task's name with underscores: kfp writes hyphens."""
    return task.replace("-", "_")


def _step(
    name: str,
    task: Mapping[str, Any],
    component: Mapping[str, Any],
    document: Mapping[str, Any],
    parameters: Mapping[str, Source],
    artifacts: Mapping[str, FromStep],
    branches: tuple[Branch, ...],
) -> Step:
    container = document["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
    arguments, command = container["args"], container["command"]
    definitions = component.get("inputDefinitions", {}).get("parameters", {})
    types = {
        key: PARAMETER_TYPES[definition["parameterType"]]
        for key, definition in definitions.items()
        if definition["parameterType"] in PARAMETER_TYPES
    }
    outputs = component.get("outputDefinitions", {})
    source = command[-1]
    folders = [name for name in _FOLDER.findall(source) if name not in BELOW_THE_STEPS]
    status = [
        key
        for key, value in task.get("inputs", {}).get("parameters", {}).items()
        if "taskFinalStatus" in value
    ]
    constants = (str, int, float, bool)
    return Step(
        name=_python_name(name),
        title=task.get("taskInfo", {}).get("name", name),
        folder=folders[0] if folders else _python_name(name),
        function=arguments[arguments.index("--function_to_execute") + 1],
        source=source,
        parameters={
            key: types[key](value) if isinstance(value, constants) else value
            for key, value in parameters.items()
        },
        parameter_types=types,
        artifacts=artifacts,
        output_artifacts={
            key: definition["artifactType"]["schemaTitle"]
            for key, definition in outputs.get("artifacts", {}).items()
        },
        output_parameters=tuple(outputs.get("parameters", {})),
        cacheable=bool(task.get("cachingOptions", {}).get("enableCache", False)),
        branches=branches,
        timeout_s=timeout_of(command),
        retry=_retry(task.get("retryPolicy", {})),
        status_parameter=status[0] if status else "",
    )


def _retry(policy: Mapping[str, Any]) -> Retry:
    """Returns the retries of a task; the durations are protobuf's, `60s`."""
    return Retry(
        times=int(policy.get("maxRetryCount", 0)),
        pause_s=float(policy.get("backoffDuration", "0s").removesuffix("s")),
        factor=float(policy.get("backoffFactor", 2.0)),
        longest_pause_s=float(policy.get("backoffMaxDuration", "3600s").removesuffix("s")),
    )


def timeout_of(command: list[str]) -> float | None:
    """Returns the seconds that coreutils' `timeout` before a command grants; None without it."""
    if not command or command[0] != "timeout":
        return None
    bound = next(word for word in command[1:] if not word.startswith("-"))
    unit = bound[-1] if bound[-1] in _SECONDS else ""
    return float(bound.removesuffix(unit)) * _SECONDS.get(unit, 1)
