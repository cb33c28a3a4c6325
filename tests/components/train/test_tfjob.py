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
from components.train.group_errors import WorkerError
from components.train.remote_job import ServiceError, run_job
from components.train.tfjob import TFJobs, job_object, job_state
from components.train.worker import TRY_AGAIN
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
        # What a worker's pod says when the job has failed, and how its log answers.
        self.ends, self.log_status = [], 200
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
            status = {"phase": "Running", "containerStatuses": self.ends}
            pod = {"metadata": metadata, "status": status}
            return 200, {"kind": "PodList", "items": [pod]}
        if path.endswith("/log"):
            assert query["timestamps"] == ["True"]
            return self.log_status, self.log
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
    return TFJobs(OPTIONS, spec=SPEC, workers=3)


def follow(attempts=1, result=()):
    run_job(
        jobs(), "lookalike-train-7", result=result, attempts=attempts, poll_seconds=0.01,
        deadline_seconds=60,
    )  # fmt: skip


def ended(code, reason="Error"):
    end = {"terminated": {"exitCode": code, "reason": reason}}
    return {
        "name": "tensorflow", "image": "x", "imageID": "x", "ready": False, "restartCount": 0,
        "state": end,
    }  # fmt: skip


def test_a_job_runs_to_its_end_and_each_line_is_told_once(cluster, capsys):
    follow()
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


@pytest.mark.parametrize("status", [400, 404])
def test_a_pod_that_is_being_made_or_replaced_has_no_lines_now(cluster, status):
    service = jobs()
    cluster.log_status = status
    assert list(service.new_lines("lookalike-train-7")) == []
    cluster.log_status = 200
    # Nothing is lost: the next look reads from the start.
    lines = [line.text for line in service.new_lines("lookalike-train-7")]
    assert lines == ["epoch 1", "epoch 2"]


def test_logs_that_are_forbidden_end_no_wait(cluster, capsys):
    cluster.log_status = 403
    follow()
    assert capsys.readouterr().err.count("lines of job lookalike-train-7 are missing") == 1
    assert [call for call in cluster.calls if call[0] != "GET"] == [("POST", JOBS)]


@pytest.mark.parametrize(
    ("code", "started"),
    [(1, 1), (2, 1), (TRY_AGAIN, 3), (137, 3)],
)
def test_a_failure_that_another_try_may_mend_is_tried_again(cluster, code, started):
    cluster.end, cluster.ends = "Failed", [ended(code)]
    with pytest.raises(WorkerError, match=f"as the operator says; worker 1 ended with code {code}"):
        follow(attempts=3, result=[SPEC.with_name("none")])
    assert len([call for call in cluster.calls if call == ("POST", JOBS)]) == started


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
    body = job_object("lookalike-train-7", OPTIONS, spec=SPEC, workers=3)

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
    worker = job.spec.tf_replica_specs["Worker"]
    # The group starts again as a whole, by the step, which counts and knows why.
    assert worker.restart_policy == "Never"
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
