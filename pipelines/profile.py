"""Profiles: what each task asks of the machine it runs on, one YAML file a place.

The files in `pipelines/profiles/` come with the package; any other file of the same form will do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from components.contracts.errors import InputError
from pipelines.task_names import TASK_NAMES

if TYPE_CHECKING:
    from kfp import dsl

PROFILES = Path(__file__).with_name("profiles")
COMMITTED = "kubeflow-cpu"
"""What the committed files ask for: processors and memory, which every backend understands."""

_CPU = re.compile(r"(\d+(?:\.\d+)?)(m?)")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)(K|M|G|T|Ki|Mi|Gi|Ti)?")
_BYTES = {
    None: 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip


@dataclass(frozen=True)
class Resources:
    """What one task asks for; an empty text asks for nothing.

    Attributes:
        cpu_request: Processors that it is promised, as Kubernetes writes them: `2`, `500m`.
        cpu_limit: Most processors that it gets. Vertex AI chooses the machine by the limits.
        memory_request: Memory that it is promised, such as `4Gi`.
        memory_limit: Most memory that it gets; a task that takes more is killed.
        accelerator: Kind of accelerator: `nvidia.com/gpu` on Kubernetes, `NVIDIA_L4` and the like
            on Vertex AI.
        accelerator_count: How many of them, 1 to 16.
    """

    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    accelerator: str = ""
    accelerator_count: int = 1


@dataclass(frozen=True)
class Profile:
    """A place to run in.

    Attributes:
        name: The profile's name.
        description: For people.
        steps: Resources by task; a task that is not named asks for nothing.
    """

    name: str
    description: str
    steps: Mapping[str, Resources]


def profile_names() -> list[str]:
    """Returns the names of the profiles that come with the package."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def read_profile(name: str) -> Profile:
    """Reads a profile by name, or from a file.

    Args:
        name: One of `profile_names()`, or the path of a YAML file.

    Raises:
        InputError: There is no such profile, or something in it cannot be used.
    """
    path = PROFILES / f"{name}.yaml"
    if name not in profile_names():
        path = Path(name)
        if not path.is_file():
            raise InputError(
                f"profile {name!r}: expected one of {', '.join(profile_names())}, or a YAML file"
            )
    document = read_document(path)
    refuse_unknown(document, ("description", "steps"), source=str(path), what="key")
    steps = section(document, "steps", path)
    refuse_unknown(steps, TASK_NAMES, source=f"{path}: steps", what="step")
    return Profile(
        name=path.stem,
        description=str(document.get("description", "")),
        steps={step: _resources(step, values, path) for step, values in steps.items()},
    )


def read_document(path: Path) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
        InputError: The file cannot be read, or holds something else.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected YAML ({' '.join(str(error).split())})") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected 'key: value' lines, received no mapping")
    return document


def section(document: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    """Returns a mapping within a document; an empty one when it is absent.

    Raises:
        InputError: It is something else.
    """
    value = document.get(key) or {}
    if not isinstance(value, dict):
        raise InputError(f"{path}: {key}: expected 'name: value' lines, received {value!r}")
    return value


def refuse_unknown(
    given: Mapping[str, Any], known: tuple[str, ...], *, source: str, what: str
) -> None:
    """Refuses names that nobody knows, with the ones that would do.

    Raises:
        InputError: There is an unknown name.
    """
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
            advice = f"; did you mean {near[0]}?" if near else ""
            raise InputError(
                f"{source}: unknown {what} {name!r}{advice} (expected one of {', '.join(known)})"
            )


def _resources(step: str, values: object, path: Path) -> Resources:
    where = f"{path}: steps.{step}"
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected 'resource: value' lines, received {values!r}")
    names = tuple(entry.name for entry in fields(Resources))
    refuse_unknown(values, names, source=where, what="resource")
    count = values.get("accelerator_count", 1)
    texts = {name: str(value) for name, value in values.items() if name != "accelerator_count"}
    wanted = Resources(**texts, accelerator_count=count)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 16:
        raise InputError(f"{where}.accelerator_count: expected 1 to 16, received {count!r}")
    for kind, amount in (("cpu", _processors), ("memory", _memory)):
        low, high = (
            amount(getattr(wanted, f"{kind}_{bound}"), f"{where}.{kind}_{bound}")
            for bound in ("request", "limit")
        )
        if low is not None and high is not None and low > high:
            raise InputError(
                f"{where}.{kind}_request: expected at most the limit "
                f"{getattr(wanted, f'{kind}_limit')}, received {getattr(wanted, f'{kind}_request')}"
            )
    return wanted


def _processors(text: str, where: str) -> float | None:
    if not text:
        return None
    match = _CPU.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        raise InputError(f"{where}: expected processors such as 2, 0.5 or 500m, received {text!r}")
    return float(match[1]) / (1000 if match[2] else 1)


def _memory(text: str, where: str) -> float | None:
    if not text:
        return None
    match = _MEMORY.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        raise InputError(f"{where}: expected memory such as 4Gi or 512Mi, received {text!r}")
    return float(match[1]) * _BYTES[match[2]]


def give_resources(task: dsl.PipelineTask, wanted: Resources | None) -> None:
    """Writes what a task asks for into its specification.

    The specification is written whole: kfp's setters look through the call stack's source files
    each time, which took longer than everything else in a compilation together.
    """
    if wanted is None:
        return
    from kfp.dsl import structures  # noqa: PLC0415 - profiles are read without kfp, too

    task.container_spec.resources = structures.ResourceSpec(
        cpu_request=wanted.cpu_request or None,
        cpu_limit=wanted.cpu_limit or None,
        memory_request=wanted.memory_request or None,
        memory_limit=wanted.memory_limit or None,
        accelerator_type=wanted.accelerator or None,
        accelerator_count=str(wanted.accelerator_count) if wanted.accelerator else None,
    )
