"""Where a training group runs, and what a remote one needs to be told."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.contracts.errors import InputError

BACKENDS = ("local", "tfjob", "vertex")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class BackendConfig:
    """Where a training group runs.

    Attributes:
        backend: `local` starts processes here, `tfjob` a TFJob of Kubeflow's Training Operator,
            `vertex` a CustomJob of Vertex AI.
        staging: Directory that this step and every remote worker see under one path: a mounted
            volume, or `/gcs/BUCKET/...` on Vertex. Examples and checkpoints go there.
        image: Container image of the workers.
        run_id: Part of the job's name, beside a digest of what is trained: a step that is tried
            again finds the job it started, and another run of the same training starts its own.
            Empty for the digest alone; a long one is cut.
        cpu: Cores a worker.
        memory_gib: Memory a worker, in GiB.
        gpus: NVIDIA GPUs a worker.
        deadline_hours: Longest time that the job may take, in hours.
        poll_seconds: Seconds between two looks at the job.
        namespace: Kubernetes namespace (tfjob).
        volume_claim: PersistentVolumeClaim that holds `staging` (tfjob).
        mount_path: Where the claim is mounted (tfjob).
        service_account: Who the workers are (tfjob: a Kubernetes service account; vertex: an
            e-mail address); empty for the default.
        node_selector: Labels of the nodes to use (tfjob).
        project: Google Cloud project (vertex).
        region: Region, such as europe-west4 (vertex).
        machine_type: Machine of each worker (vertex).
        accelerator_type: GPU of each worker, such as NVIDIA_TESLA_T4 (vertex); with `gpus`.
    """

    backend: str = "local"
    staging: str = ""
    image: str = ""
    run_id: str = ""
    cpu: int = 4
    memory_gib: int = 16
    gpus: int = 0
    deadline_hours: float = 24.0
    poll_seconds: float = 10.0
    namespace: str = "kubeflow"
    volume_claim: str = ""
    mount_path: str = ""
    service_account: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    project: str = ""
    region: str = ""
    machine_type: str = "n1-standard-8"
    accelerator_type: str = ""

    def __post_init__(self) -> None:
        """Refuses what no job could be made of.

        Raises:
            InputError: A field that the backend needs is missing or out of range.
        """
        if self.backend not in BACKENDS:
            raise _refusal("backend", f"one of {', '.join(BACKENDS)}", self.backend)
        if self.backend == "local":
            return
        needed = {
            "tfjob": ("staging", "image", "namespace", "volume_claim", "mount_path"),
            "vertex": ("staging", "image", "project", "region"),
        }[self.backend]
        for name in needed:
            if not getattr(self, name):
                raise _refusal(name, f"a value, which backend {self.backend} needs", "")
        if self.backend == "tfjob" and not Path(self.staging).is_relative_to(self.mount_path):
            raise _refusal(
                "staging", f"a directory under mount_path {self.mount_path}", self.staging
            )
        if self.backend == "vertex" and not self.staging.startswith("/gcs/"):
            raise _refusal("staging", "a directory under /gcs/BUCKET", self.staging)
        if self.run_id and not (_LABEL.fullmatch(self.run_id) and len(self.run_id) <= 40):
            raise _refusal(
                "run_id", "at most 40 lower-case letters, digits and hyphens", self.run_id
            )
        for name in ("cpu", "memory_gib", "deadline_hours", "poll_seconds"):
            if not getattr(self, name) > 0:
                raise _refusal(name, "more than 0", getattr(self, name))
        if self.gpus < 0:
            raise _refusal("gpus", "0 or more", self.gpus)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> BackendConfig:
        """Builds a config from plain values; whole numbers may come as floats.

        Raises:
            InputError: A name is unknown, or a value has the wrong type or range.
        """
        fields = {one.name: one for one in dataclasses.fields(cls)}
        typed: dict[str, Any] = {}
        for name, value in values.items():
            if name not in fields:
                raise InputError(
                    f"train.backend.{name}: no such option; there are {', '.join(sorted(fields))}"
                )
            typed[name] = _typed(name, value, str(fields[name].type))
        return cls(**typed)


def _typed(name: str, value: Any, kind: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "int" and number and float(value).is_integer():
        return int(value)
    if kind == "float" and number:
        return float(value)
    if kind == "str" and isinstance(value, str):
        return value
    if kind.startswith("Mapping") and isinstance(value, Mapping):
        return {str(key): str(inner) for key, inner in value.items()}
    raise _refusal(name, kind, value)


def _refusal(name: str, expected: str, received: object) -> InputError:
    return InputError(f"train.backend.{name}: expected {expected}, received {received!r}; set it")
