"""Faults of a compiled pipeline that neither kfp nor a backend tells before a run has begun."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from components.contracts.errors import LookalikeError
from pipelines.images import images_of

_NEVER_CACHED = (
    "catalog", "evaluate", "human_eval", "judge", "gates", "promote", "refused", "undecided",
    "notify",
)  # fmt: skip
_SHORTEST_DESCRIPTION = 10
_INSTALL = re.compile(r"\bpip3?\s+install\b|\bapt(-get)?\s+install\b|\buv\s+pip\b")
_SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}|ghp_[A-Za-z0-9]{36}|ya29\.[\w-]{20,}|"
    r"hooks\.slack\.com/services/\w+"
)

Document = Mapping[str, Any]


def refuse_faults(documents: Sequence[Document], *, source: str) -> None:
    """Refuses a compiled pipeline with faults.

    Args:
        documents: The specification, and Kubernetes' settings where there are any.
        source: What to call it.

    Raises:
        LookalikeError: With all faults, one a line.
    """
    faults = list(find_faults(documents))
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise LookalikeError(f"{source}: {len(faults)} faults in the compiled pipeline\n{listed}")


def find_faults(documents: Sequence[Document]) -> Iterator[str]:
    """Yields what is wrong with a compiled pipeline, one sentence each."""
    if not documents or not isinstance(documents[0], Mapping):
        yield "expected a compiled pipeline, received no mapping"
        return
    document = documents[0]
    unreadable = list(_parses(documents))
    yield from unreadable
    if unreadable:
        return
    yield from _references(document)
    yield from _installs(document)
    yield from _images(document)
    yield from _caching(document)
    yield from _timeouts(document)
    yield from _descriptions(document)
    for text in _texts(documents):
        if _SECRET.search(text):
            yield "a text looks like a credential; secrets never belong into a pipeline"


def _parses(documents: Sequence[Document]) -> Iterator[str]:
    from google.protobuf import json_format  # noqa: PLC0415 - comes with kfp, which takes a second
    from kfp.pipeline_spec import pipeline_spec_pb2  # noqa: PLC0415

    try:
        json_format.ParseDict(dict(documents[0]), pipeline_spec_pb2.PipelineSpec())
    except json_format.ParseError as error:
        yield f"KFP cannot read it: {error}"
        return
    # The executors are a free-form Struct there, so they need a parser of their own.
    for name, executor in documents[0].get("deploymentSpec", {}).get("executors", {}).items():
        try:
            json_format.ParseDict(
                executor, pipeline_spec_pb2.PipelineDeploymentConfig.ExecutorSpec()
            )
        except json_format.ParseError as error:
            yield f"KFP cannot read the executor {name}: {error}"
    for platform in documents[1:]:
        try:
            json_format.ParseDict(dict(platform), pipeline_spec_pb2.PlatformSpec())
        except json_format.ParseError as error:
            yield f"KFP cannot read the second document: {error}"


def _graphs(document: Document) -> Iterator[tuple[str, Document, Document]]:
    """Yields name, component and graph of the pipeline and of every graph within it."""
    yield "root", document["root"], document["root"]["dag"]
    for name, component in document.get("components", {}).items():
        if "dag" in component:
            yield name, component, component["dag"]


def _names(component: Document, side: str, kind: str) -> set[str]:
    return set(component.get(f"{side}Definitions", {}).get(kind, {}))


def _references(document: Document) -> Iterator[str]:
    components = document.get("components", {})
    executors = document.get("deploymentSpec", {}).get("executors", {})
    used = set()
    for graph, owner, dag in _graphs(document):
        tasks = dag.get("tasks", {})
        for name, task in tasks.items():
            where = f"{graph}: task {name}"
            reference = task.get("componentRef", {}).get("name", "")
            used.add(reference)
            for other in task.get("dependentTasks", ()):
                if other not in tasks:
                    yield f"{where}: waits for {other!r}, which does not exist"
            if reference not in components:
                yield f"{where}: the component {reference!r} does not exist"
                continue
            for kind in ("parameters", "artifacts"):
                given = task.get("inputs", {}).get(kind, {})
                yield from _interface(where, given, reference, components[reference], kind)
                for key, value in given.items():
                    yield from _source(f"{where}: {key}", value, kind, owner, tasks, components)
    for name, component in components.items():
        if name not in used:
            yield f"component {name}: no task uses it"
        label = component.get("executorLabel")
        if label is not None and label not in executors:
            yield f"component {name}: the executor {label!r} does not exist"


def _interface(
    where: str, given: Document, reference: str, component: Document, kind: str
) -> Iterator[str]:
    wanted = component.get("inputDefinitions", {}).get(kind, {})
    for key in given.keys() - wanted.keys():
        yield f"{where}: gives {key!r}, which {reference} does not take"
    for key, definition in wanted.items():
        if key not in given and not definition.get("isOptional"):
            yield f"{where}: {reference} needs {key!r} and does not get it"


def _source(
    where: str,
    value: Document,
    kind: str,
    owner: Document,
    tasks: Document,
    components: Document,
) -> Iterator[str]:
    one = "Parameter" if kind == "parameters" else "Artifact"
    outside = value.get(f"componentInput{one}")
    if outside is not None and outside not in _names(owner, "input", kind):
        yield f"{where}: comes from the input {outside!r}, which does not exist"
    produced = value.get(f"taskOutput{one}")
    if produced is not None:
        producer = tasks.get(produced["producerTask"])
        key = produced[f"output{one}Key"]
        if producer is None:
            yield f"{where}: comes from the task {produced['producerTask']!r}, which does not exist"
        elif key not in _names(
            components.get(producer["componentRef"]["name"], {}), "output", kind
        ):
            yield f"{where}: {produced['producerTask']} has no output {key!r}"
    final = value.get("taskFinalStatus")
    if final is not None and final["producerTask"] not in tasks:
        yield f"{where}: is the status of {final['producerTask']!r}, which does not exist"


def _containers(document: Document) -> Iterator[tuple[str, Document]]:
    for name, executor in document.get("deploymentSpec", {}).get("executors", {}).items():
        yield name, executor.get("container", {})


def _installs(document: Document) -> Iterator[str]:
    for name, container in _containers(document):
        # The last word is the component's body; what runs before it is kfp's.
        if _INSTALL.search(" ".join(container.get("command", ()))):
            yield f"executor {name}: installs packages at run time; the image must hold them"


def _images(document: Document) -> Iterator[str]:
    for name, image in images_of(document).items():
        if "{{" in image or "$" in image:
            yield f"executor {name}: the image {image!r} is a template; name the image itself"
        elif "@sha256:" not in image and ":" not in image.rsplit("/", 1)[-1]:
            yield f"executor {name}: the image {image!r} has neither tag nor digest"
        elif image.endswith(":latest"):
            yield f"executor {name}: the image {image!r} is whatever came last; name a version"


def _caching(document: Document) -> Iterator[str]:
    for graph, _, dag in _graphs(document):
        for name, task in dag.get("tasks", {}).items():
            cached = task.get("cachingOptions", {}).get("enableCache", False)
            if cached and name.replace("-", "_") in _NEVER_CACHED:
                yield (
                    f"{graph}: task {name} is cached; a gate, a promotion or a notification must "
                    "happen each time"
                )
            after_all = task.get("triggerPolicy", {}).get("strategy")
            if cached and after_all == "ALL_UPSTREAM_TASKS_COMPLETED":
                yield f"{graph}: task {name} is an exit handler and cached"


def _timeouts(document: Document) -> Iterator[str]:
    for name, container in _containers(document):
        if list(container.get("command", ()))[:1] != ["timeout"]:
            yield f"executor {name}: has no time-out before its command (pipelines/tasks.py)"


def _descriptions(document: Document) -> Iterator[str]:
    info = document.get("pipelineInfo", {})
    if len(info.get("description", "")) < _SHORTEST_DESCRIPTION:
        yield "the pipeline has no description"
    parameters = document["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, definition in parameters.items():
        if len(definition.get("description", "")) < _SHORTEST_DESCRIPTION:
            yield f"parameter {name}: has no description that people could act on"
    for graph, _, dag in _graphs(document):
        for name, task in dag.get("tasks", {}).items():
            if "dag" in document["components"][task["componentRef"]["name"]]:
                continue
            if task.get("taskInfo", {}).get("name", name) == name:
                yield f"{graph}: task {name} has no display name"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _texts(part)
