"""A compiled file that is to be sent, and the values that a run of it gets."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.contracts.errors import InputError
from pipelines.compiled import settable
from pipelines.lint import refuse_faults
from pipelines.local.ir import Parameter, Pipeline, Scalar, parameters_of
from pipelines.settings import Known, read_values
from pipelines.values import check_values


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
        path: Its file.
        name: The pipeline's name.
        description: For people.
        document: The specification.
        is_portable: Whether it has one document; with Kubernetes' settings it has two.
    """

    path: Path
    name: str
    description: str
    document: Mapping[str, Any]
    is_portable: bool


def read_package(path: Path) -> Package:
    """Reads and lints a compiled file: what has faults is refused here, not in the cluster.

    Raises:
        InputError: It cannot be read.
        LookalikeError: It has faults.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=loader))
    except OSError as error:
        raise InputError(f"{path}: the pipeline cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{path}: expected a compiled pipeline; it is no YAML") from None
    refuse_faults(documents, source=str(path))
    info = documents[0]["pipelineInfo"]
    return Package(
        path, info["name"], info.get("description", ""), documents[0], len(documents) == 1
    )


def values_for(
    document: Mapping[str, Any], config: Path | None, assignments: Sequence[str]
) -> dict[str, Scalar]:
    """Returns the values of a run by pipeline parameter; those left out keep their defaults.

    Args:
        document: The pipeline's specification: the one that will run.
        config: A YAML file of `parameter: value` and `step: {parameter: value}`.
        assignments: `NAME=VALUE` texts; they win over the file.

    Raises:
        InputError: A name is unknown, a value has the wrong type or range, or one is missing.
    """
    parameters = parameters_of(document)
    known = known_names(parameters)
    values = read_values(config, assignments, known)
    missing = [
        name
        for name, parameter in parameters.items()
        if parameter.default is None and not values.get(name)
    ]
    if missing:
        raise InputError(
            f"{', '.join(missing)}: expected a value, since there is no default; give "
            f"--set {missing[0]}=..."
        )
    check_values(values)
    return values


def known_names(parameters: Mapping[str, Parameter]) -> Known:
    """Returns parameters and fields by the name that a person types: `catalog`, `train.epochs`."""
    dotted = settable(Pipeline("", parameters, ()))
    belong = {parameter.name for parameter in dotted.values()}
    plain = {name: value for name, value in parameters.items() if name not in belong}
    return {**plain, **dotted}


def named(known: Sequence[str], wanted: str, *, what: str) -> str:
    """Returns `wanted` when it is known.

    Raises:
        InputError: It is not; the message names the nearest, or all.
    """
    if wanted in known:
        return wanted
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5) or list(known)[:5]
    advice = f"; there are {', '.join(near)}" if near else "; there are none yet"
    raise InputError(f"{what} {wanted!r}: not found{advice}")
