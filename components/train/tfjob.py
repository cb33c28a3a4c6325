"""Training groups as TFJobs of Kubeflow's Training Operator (`kubeflow.org/v1`)."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3.exceptions
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from components.contracts.errors import InputError
from components.train.backend_config import BackendConfig
from components.train.remote_job import JobState, LogLine, ServiceError, is_final

_GROUP, _VERSION, _PLURAL = "kubeflow.org", "v1", "tfjobs"
_NAME_LABEL = "training.kubeflow.org/job-name"
_INDEX_LABEL = "training.kubeflow.org/replica-index"
_DAY = 86_400
_WAITING = 5.0


class TFJobs:
    """The TFJobs of a namespace.

    Inside a cluster the pod's service account is used, elsewhere the current kubectl context. The
    account may create, get and delete `tfjobs` and list pods and their logs.
    """

    def __init__(self, options: BackendConfig, *, spec: Path, workers: int) -> None:
        """Finds the cluster.

        Args:
            options: Where and with what the workers run.
            spec: The file that says what to train, in the staging directory.
            workers: How many workers.

        Raises:
            InputError: There is no cluster to talk to.
        """
        self._options = options
        self._spec = spec
        self._workers = workers
        # By pod: the time stamp of the last line told, and when its log was read.
        self._told: dict[str, tuple[str, float | None]] = {}
        try:
            try:
                config.load_incluster_config()
            except config.ConfigException:
                config.load_kube_config()
        except config.ConfigException as error:
            raise InputError(
                f"train.backend: expected a Kubernetes cluster for backend tfjob ({error}); run "
                "inside one, or set a kubectl context"
            ) from None
        api = client.ApiClient()
        self._jobs = client.CustomObjectsApi(api)
        self._pods = client.CoreV1Api(api)

    def state(self, name: str) -> JobState | None:
        """See `JobService`; the pods of a job that failed say whether it would fail again."""
        with _as_service_errors():
            try:
                job = self._jobs.get_namespaced_custom_object(
                    *self._place(), name, _request_timeout=_WAITING
                )
            except ApiException as error:
                if error.status == 404:
                    return None
                raise
        found = job_state(job)
        if found.phase != "failed":
            return found
        try:
            ended = [one for pod in self._pods_of(name) for one in _ends(pod)]
        except (InputError, ServiceError):
            # Without them the job is worth another try.
            return found
        told = [f"worker {worker} ended with code {code} ({why})" for worker, code, why in ended]
        return dataclasses.replace(
            found,
            reason="; ".join(filter(None, [found.reason, *told])),
            final=is_final(code for _, code, _ in ended),
        )

    def create(self, name: str) -> None:
        """See `JobService`."""
        body = job_object(name, self._options, spec=self._spec, workers=self._workers)
        with _as_service_errors():
            try:
                self._jobs.create_namespaced_custom_object(
                    *self._place(), body, _request_timeout=_WAITING
                )
            except ApiException as error:
                if error.status != 409:
                    raise

    def new_lines(self, name: str) -> Iterator[LogLine]:
        """See `JobService`; a pod that was replaced is read from its start."""
        for pod in self._pods_of(name):
            if pod.status.phase != "Pending":
                yield from self._lines_of(pod)

    def _pods_of(self, name: str) -> list[Any]:
        with _as_service_errors():
            pods = self._pods.list_namespaced_pod(
                self._options.namespace,
                label_selector=f"{_NAME_LABEL}={name}",
                _request_timeout=_WAITING,
            )
        return sorted(pods.items, key=lambda pod: str(pod.metadata.name))

    def _lines_of(self, pod: Any) -> list[LogLine]:
        uid, now = str(pod.metadata.uid), time.monotonic()
        last, asked = self._told.get(uid, ("", None))
        # A little more than since the last look; what was told already is left out below.
        since = {} if asked is None else {"since_seconds": math.ceil(now - asked) + 5}
        with _as_service_errors():
            try:
                text = self._pods.read_namespaced_pod_log(
                    pod.metadata.name,
                    self._options.namespace,
                    timestamps=True,
                    _request_timeout=_WAITING,
                    **since,
                )
            except ApiException as error:
                # 400: its container is still being made; 404: the pod is gone.
                if error.status in (400, 404):
                    return []
                raise
        worker = _worker(pod)
        found = []
        # What follows the last line break is still being written.
        for line in text.split("\n")[:-1]:
            stamp, _, words = line.partition(" ")
            moment = stamp.removesuffix("Z").ljust(len("2026-01-01T00:00:00.000000000"), "0")
            if moment > last and words.strip():
                found.append(LogLine(worker, words))
                last = moment
        self._told[uid] = (last, now)
        return found

    def cancel(self, name: str) -> None:
        """See `JobService`; the operator ends the pods of a job that is deleted."""
        with _as_service_errors():
            try:
                self._jobs.delete_namespaced_custom_object(
                    *self._place(), name, _request_timeout=_WAITING
                )
            except ApiException as error:
                if error.status != 404:
                    raise

    def _place(self) -> tuple[str, str, str, str]:
        return _GROUP, _VERSION, self._options.namespace, _PLURAL


def job_object(name: str, options: BackendConfig, *, spec: Path, workers: int) -> dict[str, Any]:
    """Returns the TFJob that trains what `spec` says.

    No pod is started again: the step starts the whole group again, as a new job, and knows when
    that is of no use. The operator knows less. With `OnFailure` it repeats a failure that will
    not go away, and with `ExitCode` it starts killed pods again without end: it counts restarts of
    containers against `backoffLimit`, and replaces pods (kubeflow/trainer issue 2045).
    """
    resources: dict[str, Any] = {"cpu": str(options.cpu), "memory": f"{options.memory_gib}Gi"}
    if options.gpus:
        resources["nvidia.com/gpu"] = str(options.gpus)
    container = {
        # The operator looks for a container of this name.
        "name": "tensorflow",
        "image": options.image,
        "command": ["python", "-m", "components.train", "--spec", str(spec)],
        "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}],
        "resources": {"requests": resources, "limits": resources},
        "volumeMounts": [{"name": "staging", "mountPath": options.mount_path}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod: dict[str, Any] = {
        "containers": [container],
        "volumes": [
            {"name": "staging", "persistentVolumeClaim": {"claimName": options.volume_claim}}
        ],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    if options.service_account:
        pod["serviceAccountName"] = options.service_account
    if options.node_selector:
        pod["nodeSelector"] = dict(options.node_selector)
    # Istio's sidecar would come between the workers.
    metadata = {"annotations": {"sidecar.istio.io/inject": "false"}}
    return {
        "apiVersion": f"{_GROUP}/{_VERSION}",
        "kind": "TFJob",
        "metadata": {
            "name": name,
            "namespace": options.namespace,
            "labels": {"app.kubernetes.io/part-of": "lookalike", "app.kubernetes.io/name": "train"},
        },
        "spec": {
            "runPolicy": {
                # Keeps the pods that failed, whose codes and lines are read.
                "cleanPodPolicy": "Running",
                "activeDeadlineSeconds": round(options.deadline_hours * 3600),
                "ttlSecondsAfterFinished": _DAY,
            },
            "tfReplicaSpecs": {
                "Worker": {
                    "replicas": workers,
                    "restartPolicy": "Never",
                    "template": {"metadata": metadata, "spec": pod},
                }
            },
        },
    }


def job_state(job: dict[str, Any]) -> JobState:
    """Returns what a TFJob's conditions say."""
    conditions = job.get("status", {}).get("conditions") or []
    holding = {one["type"]: one for one in conditions if one.get("status") == "True"}
    if "Succeeded" in holding:
        return JobState("succeeded")
    if "Failed" in holding:
        return JobState("failed", str(holding["Failed"].get("message", "")))
    return JobState("running" if "Running" in holding else "waiting")


def _ends(pod: Any) -> Iterator[tuple[str, int, str]]:
    """Yields worker, exit code and reason of each container of a pod that ended badly."""
    for container in pod.status.container_statuses or ():
        end = container.state.terminated
        if end is not None and end.exit_code != 0:
            yield _worker(pod), int(end.exit_code), str(end.reason or "no reason given")


def _worker(pod: Any) -> str:
    """Returns the worker's number, or the pod's name."""
    return str((pod.metadata.labels or {}).get(_INDEX_LABEL, pod.metadata.name))


@contextlib.contextmanager
def _as_service_errors() -> Iterator[None]:
    """Turns what may pass into `ServiceError`, and what will not into `InputError`."""
    try:
        yield
    except ApiException as error:
        words = f"Kubernetes answered {error.status} {error.reason}"
        if error.status in (400, 401, 403, 404, 422):
            raise InputError(
                f"train.backend: {words}; check that the Training Operator is installed, that the "
                "step's service account may create, get and delete tfjobs and read pods' logs, and "
                "the options of train.backend"
            ) from None
        raise ServiceError(words) from None
    except urllib3.exceptions.HTTPError as error:
        raise ServiceError(f"Kubernetes cannot be reached ({type(error).__name__})") from None
