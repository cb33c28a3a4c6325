"""TFJobs against a server on loopback that speaks the few paths of the Kubernetes API we use."""

import json
import re
from pathlib import Path

import pytest
import yaml
from kubeflow.training import KubeflowOrgV1TFJob
from kubernetes import client

from components.contracts.errors import InputError
from components.train.backend_config import BackendConfig
from components.train.remote_job import ServiceError, run_job
from components.train.tfjob import TFJobs, job_object, job_state
from tests.components.train.http_service import serve

OPTIONS = BackendConfig(
    backend="tfjob", staging="/mnt/shop/training", mount_path="/mnt/shop", volume_claim="shop",
    image="lookalike/tensorflow:1", namespace="models", gpus=1, service_account="trainer",
    node_selector={"pool": "gpu"},
)  # fmt: skip
SPEC = Path("/mnt/shop/training/run/spec.json")
JOBS = "/apis/kubeflow.org/v1/namespaces/models/tfjobs"


class Cluster:
    """What the operator would do: a job runs for a few looks and then ends."""

    def __init__(self):
        self.jobs, self.calls, self.looks = {}, [], 0
        self.end, self.refuse = "Succeeded", None
        self.log = "2026-11-22T10:00:00.1Z epoch 1\n2026-11-22T10:00:00.12Z epoch 2\n"

    def answer(self, method, path, query, body):  # noqa: PLR0911
        self.calls.append((method, path))
        if self.refuse:
            return self.refuse, {"message": "no"}
        if path == JOBS and method == "POST":
            name = body["metadata"]["name"]
            if name in self.jobs:
                return 409, {"reason": "AlreadyExists"}
            self.jobs[name] = body
            return 201, body
        if match := re.fullmatch(JOBS + "/([a-z0-9-]+)", path):
            if match[1] not in self.jobs:
                return 404, {"reason": "NotFound"}
            if method == "DELETE":
                return 200, self.jobs.pop(match[1])
            self.looks += 1
            kind = "Running" if self.looks < 3 else self.end
            condition = {"type": kind, "status": "True", "message": "as the operator says"}
            return 200, {**self.jobs[match[1]], "status": {"conditions": [condition]}}
        if path == "/api/v1/namespaces/models/pods":
            (selector,) = query["labelSelector"]
            name = selector.removeprefix("training.kubeflow.org/job-name=")
            labels = {"training.kubeflow.org/replica-index": "1"}
            metadata = {"name": f"{name}-worker-1", "uid": "u1", "labels": labels}
            pod = {"metadata": metadata, "status": {"phase": "Running"}}
            return 200, {"kind": "PodList", "items": [pod]}
        if path.endswith("/log"):
            assert query["timestamps"] == ["True"]
            return 200, self.log
        return 404, {"reason": "NotFound"}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    kubectl = tmp_path / "config"
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubectl))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    state = Cluster()
    with serve(state.answer) as address:
        context = {"name": "test", "context": {"cluster": "test", "user": "me"}}
        values = {
            "current-context": "test",
            "contexts": [context],
            "clusters": [{"name": "test", "cluster": {"server": address}}],
            "users": [{"name": "me", "user": {}}],
        }
        kubectl.write_text(yaml.safe_dump(values))
        yield state


def jobs():
    return TFJobs(OPTIONS, spec=SPEC, workers=3, restarts=2)


def test_a_job_runs_to_its_end_and_each_line_is_told_once(cluster, capsys):
    run_job(jobs(), "lookalike-train-7", attempts=1, poll_seconds=0.01, deadline_seconds=60)
    said = capsys.readouterr().err
    assert said.count("[worker 1] epoch 1\n") == 1
    assert said.count("[worker 1] epoch 2\n") == 1
    assert [call for call in cluster.calls if call[0] != "GET"] == [("POST", JOBS)]


def test_a_job_that_is_there_is_not_started_again(cluster):
    jobs().create("lookalike-train-7")
    jobs().create("lookalike-train-7")
    assert list(cluster.jobs) == ["lookalike-train-7"]


def test_what_failed_is_told_in_the_operators_words(cluster):
    cluster.end = "Failed"
    service = jobs()
    assert service.state("lookalike-train-7") is None
    service.create("lookalike-train-7")
    cluster.looks = 2
    assert service.state("lookalike-train-7").reason == "as the operator says"


def test_cancelling_deletes_the_job_and_only_that(cluster):
    service = jobs()
    service.create("lookalike-train-7")
    service.cancel("lookalike-train-7")
    assert cluster.jobs == {}
    service.cancel("lookalike-train-7")


def test_rights_that_are_missing_are_named(cluster):
    cluster.refuse = 403
    with pytest.raises(InputError, match=r"answered 403 .*may create, get and delete tfjobs"):
        jobs().state("lookalike-train-7")


def test_a_server_in_trouble_is_asked_again_later(cluster):
    cluster.refuse = 500
    with pytest.raises(ServiceError, match="answered 500"):
        jobs().state("lookalike-train-7")


def test_no_cluster_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION",
                        str(tmp_path / "none"))  # fmt: skip
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InputError, match="expected a Kubernetes cluster"):
        jobs()


def test_the_object_fits_the_operators_published_schema():
    body = job_object("lookalike-train-7", OPTIONS, spec=SPEC, workers=3, restarts=2)

    class Response:
        data = json.dumps(body)

    api = client.ApiClient()
    # The operator's models know their fields; what they do not know would be lost on the way.
    from kubeflow.training import models

    for name in dir(models):
        setattr(client.models, name, getattr(models, name))
    job = api.deserialize(Response, "KubeflowOrgV1TFJob")
    assert isinstance(job, KubeflowOrgV1TFJob)
    assert api.sanitize_for_serialization(job) == body
    assert job.spec.run_policy.backoff_limit == 6
    worker = job.spec.tf_replica_specs["Worker"]
    assert worker.replicas == 3
    (container,) = worker.template.spec.containers
    assert container.command[-2:] == ["--spec", str(SPEC)]
    assert container.resources.limits["nvidia.com/gpu"] == "1"
    assert container.volume_mounts[0].mount_path == "/mnt/shop"


@pytest.mark.parametrize(
    ("conditions", "phase"),
    [
        ([], "waiting"),
        ([{"type": "Created", "status": "True"}], "waiting"),
        ([{"type": "Running", "status": "True"}], "running"),
        ([{"type": "Running", "status": "False"}, {"type": "Succeeded", "status": "True"}],
         "succeeded"),
        ([{"type": "Running", "status": "True"}, {"type": "Failed", "status": "True"}], "failed"),
    ],
)  # fmt: skip
def test_a_jobs_conditions_say_how_far_it_is(conditions, phase):
    assert job_state({"status": {"conditions": conditions}}).phase == phase
