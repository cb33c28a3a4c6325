"""What only Kubernetes understands, from a YAML file: where pods may run, what they mount.

KFP keeps this in a second document behind the pipeline (`platforms`), which Vertex AI refuses: so
it goes into a second file, for Kubeflow only. The names of secrets are in it, their contents never.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.contracts.errors import InputError
from pipelines.profile import read_document, refuse_unknown, section
from pipelines.task_names import TASK_NAMES

if TYPE_CHECKING:
    from kfp import dsl

_DNS = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_MOUNT = re.compile(r"/[A-Za-z0-9._/-]+")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_OPERATORS = ("Equal", "Exists")
_PULL = ("Always", "IfNotPresent", "Never")

SETTINGS = (
    "env",
    "node_selector",
    "tolerations",
    "secrets_as_env",
    "secrets_as_files",
    "volumes",
    "memory_volumes",
    "image_pull_secrets",
    "image_pull_policy",
    "labels",
    "annotations",
)
"""What can be said of a task; `kubernetes.example.yaml` shows each of them."""


@dataclass(frozen=True)
class Overlay:
    """Kubernetes settings.

    Attributes:
        everywhere: Settings of every task.
        steps: Settings by task, beside those of every task.
    """

    everywhere: Mapping[str, Any]
    steps: Mapping[str, Mapping[str, Any]]


def read_overlay(path: Path) -> Overlay:
    """Reads a YAML file of `all: {setting: value}` and `steps: {step: {setting: value}}`.

    Raises:
        InputError: The file cannot be read, or names a step or a setting that does not exist, or
            has a value that Kubernetes would refuse.
    """
    document = read_document(path)
    refuse_unknown(document, ("description", "all", "steps"), source=str(path), what="key")
    steps = section(document, "steps", path)
    refuse_unknown(steps, TASK_NAMES, source=f"{path}: steps", what="step")
    everywhere = section(document, "all", path)
    _check(everywhere, f"{path}: all")
    for step, settings in steps.items():
        if not isinstance(settings, dict):
            raise InputError(f"{path}: steps.{step}: expected 'setting: value' lines")
        _check(settings, f"{path}: steps.{step}")
    return Overlay(everywhere, steps)


def overlay_task(task: dsl.PipelineTask, name: str, overlay: Overlay) -> None:
    """Writes a task's settings into its Kubernetes configuration."""
    for settings in (overlay.everywhere, overlay.steps.get(name, {})):
        for setting, value in settings.items():
            _APPLY[setting](task, value)


def _env(task: dsl.PipelineTask, value: Mapping[str, str]) -> None:
    for name, text in value.items():
        task.set_env_variable(name, text)


def _node_selector(task: dsl.PipelineTask, value: Mapping[str, str]) -> None:
    from kfp import kubernetes  # noqa: PLC0415 - only --kubernetes needs it

    for key, label in value.items():
        kubernetes.add_node_selector(task, label_key=key, label_value=label)


def _tolerations(task: dsl.PipelineTask, value: list[dict[str, Any]]) -> None:
    from kfp import kubernetes  # noqa: PLC0415

    for toleration in value:
        kubernetes.add_toleration(task, **toleration)


def _secrets_as_env(task: dsl.PipelineTask, value: list[dict[str, Any]]) -> None:
    from kfp import kubernetes  # noqa: PLC0415

    for entry in value:
        kubernetes.use_secret_as_env(
            task, entry["secret"], dict(entry["env"]), optional=entry.get("optional", False)
        )


def _secrets_as_files(task: dsl.PipelineTask, value: list[dict[str, Any]]) -> None:
    from kfp import kubernetes  # noqa: PLC0415

    for entry in value:
        kubernetes.use_secret_as_volume(
            task, entry["secret"], entry["mount"], optional=entry.get("optional", False)
        )


def _volumes(task: dsl.PipelineTask, value: list[dict[str, Any]]) -> None:
    from kfp import kubernetes  # noqa: PLC0415

    for entry in value:
        kubernetes.mount_pvc(
            task,
            pvc_name=entry["claim"],
            mount_path=entry["mount"],
            sub_path=entry.get("sub_path", ""),
        )


def _memory_volumes(task: dsl.PipelineTask, value: list[dict[str, Any]]) -> None:
    from kfp import kubernetes  # noqa: PLC0415

    for entry in value:
        kubernetes.empty_dir_mount(
            task,
            volume_name=entry["name"],
            mount_path=entry["mount"],
            medium="Memory",
            size_limit=entry.get("size"),
        )


def _image_pull_secrets(task: dsl.PipelineTask, value: list[str]) -> None:
    from kfp import kubernetes  # noqa: PLC0415

    kubernetes.set_image_pull_secrets(task, value)


def _image_pull_policy(task: dsl.PipelineTask, value: str) -> None:
    from kfp import kubernetes  # noqa: PLC0415

    kubernetes.set_image_pull_policy(task, value)


def _labels(task: dsl.PipelineTask, value: Mapping[str, str]) -> None:
    from kfp import kubernetes  # noqa: PLC0415

    for key, label in value.items():
        kubernetes.add_pod_label(task, label_key=key, label_value=label)


def _annotations(task: dsl.PipelineTask, value: Mapping[str, str]) -> None:
    from kfp import kubernetes  # noqa: PLC0415

    for key, text in value.items():
        kubernetes.add_pod_annotation(task, annotation_key=key, annotation_value=text)


_APPLY: Mapping[str, Callable[[Any, Any], None]] = {
    "env": _env,
    "node_selector": _node_selector,
    "tolerations": _tolerations,
    "secrets_as_env": _secrets_as_env,
    "secrets_as_files": _secrets_as_files,
    "volumes": _volumes,
    "memory_volumes": _memory_volumes,
    "image_pull_secrets": _image_pull_secrets,
    "image_pull_policy": _image_pull_policy,
    "labels": _labels,
    "annotations": _annotations,
}


def _check(settings: Mapping[str, Any], where: str) -> None:
    refuse_unknown(settings, SETTINGS, source=where, what="setting")
    for name in ("env", "node_selector", "labels", "annotations"):
        value = settings.get(name, {})
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise InputError(f"{where}.{name}: expected 'key: text' lines (quote true and numbers)")
    for name, keys, needed in (
        ("tolerations", ("key", "operator", "value", "effect", "toleration_seconds"), ()),
        ("secrets_as_env", ("secret", "env", "optional"), ("secret", "env")),
        ("secrets_as_files", ("secret", "mount", "optional"), ("secret", "mount")),
        ("volumes", ("claim", "mount", "sub_path"), ("claim", "mount")),
        ("memory_volumes", ("name", "mount", "size"), ("name", "mount")),
    ):
        entries = settings.get(name, [])
        if not isinstance(entries, list):
            raise InputError(f"{where}.{name}: expected a list ('- key: value')")
        for number, entry in enumerate(entries):
            _check_entry(entry, f"{where}.{name}[{number}]", keys, needed)
    for secret in settings.get("image_pull_secrets", []):
        _named(secret, f"{where}.image_pull_secrets")
    if settings.get("image_pull_policy", _PULL[0]) not in _PULL:
        raise InputError(
            f"{where}.image_pull_policy: expected one of {', '.join(_PULL)}, received "
            f"{settings['image_pull_policy']!r}"
        )


def _check_entry(entry: object, where: str, keys: tuple[str, ...], needed: tuple[str, ...]) -> None:
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected 'key: value' lines, received {entry!r}")
    refuse_unknown(entry, keys, source=where, what="key")
    for key in needed:
        if key not in entry:
            raise InputError(f"{where}: expected {' and '.join(needed)}; {key} is missing")
    for key in ("secret", "claim", "name"):
        if key in entry:
            _named(entry[key], f"{where}.{key}")
    if "mount" in entry and not _MOUNT.fullmatch(str(entry["mount"])):
        raise InputError(f"{where}.mount: expected an absolute path, received {entry['mount']!r}")
    environment = entry.get("env", {})
    if not isinstance(environment, dict) or not all(
        isinstance(value, str) and _VARIABLE.fullmatch(value) for value in environment.values()
    ):
        raise InputError(
            f"{where}.env: expected 'key of the secret: ENVIRONMENT_VARIABLE', received "
            f"{environment!r}"
        )
    if entry.get("operator", "Equal") not in _OPERATORS:
        raise InputError(f"{where}.operator: expected {' or '.join(_OPERATORS)}")
    if entry.get("effect", _EFFECTS[0]) not in _EFFECTS:
        raise InputError(f"{where}.effect: expected one of {', '.join(_EFFECTS)}")


def _named(value: object, where: str) -> None:
    if not isinstance(value, str) or not _DNS.fullmatch(value):
        raise InputError(
            f"{where}: expected a Kubernetes name (lower-case letters, digits, '-', '.'), received "
            f"{value!r}"
        )
