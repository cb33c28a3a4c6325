"""CustomJobs against a server on loopback that speaks the few paths of Vertex AI we use."""

import json
from pathlib import Path

import pytest

from components.contracts.errors import InputError
from components.train import vertex_job
from components.train.backend_config import BackendConfig
from components.train.group_errors import WorkerError
from components.train.remote_job import ServiceError, run_job
from components.train.vertex_job import VertexJobs, job_object, job_state
from components.train.worker import TRY_AGAIN
from tests.components.train.http_service import serve

OPTIONS = BackendConfig(
    backend="vertex", staging="/gcs/shop/training", image="europe-docker.pkg.dev/shop/l/tf:1",
    project="shop", region="europe-west4", gpus=1, accelerator_type="NVIDIA_L4",
    service_account="trainer@shop.iam.gserviceaccount.com",
)  # fmt: skip
SPEC = Path("/gcs/shop/training/run/spec.json")
NONE = SPEC.with_name("none")
JOBS = "/v1/projects/shop/locations/europe-west4/customJobs"


class Vertex:
    def __init__(self):
        self.jobs, self.calls, self.looks, self.refuse = [], [], 0, None
        self.end, self.error = "JOB_STATE_SUCCEEDED", {}
        self.refuse_logs, self.refuse_pages = None, None
        self.empty_pages, self.page_sizes = 0, []
        self.entries = [
            {
                "insertId": f"e{number}",
                "timestamp": f"2026-11-22T10:00:0{number // 2}Z",
                "textPayload": f"epoch {number}",
                "resource": {"labels": {"task_name": "workerpool1-0"}},
            }
            for number in range(4)
        ]

    def answer(self, method, path, query, body):
        self.calls.append((method, path))
        if self.refuse:
            return self.refuse, {"error": {"message": "no such project"}}
        if path == JOBS and method == "POST":
            state = {"name": f"{JOBS[4:]}/77", "createTime": "2026-11-22T09:00:00Z"}
            self.jobs.append({**body, **state, "state": "JOB_STATE_PENDING"})
            return 200, self.jobs[-1]
        if path == JOBS:
            (wanted,) = query["filter"]
            found = [job for job in self.jobs if wanted == f'displayName="{job["displayName"]}"']
            self.looks += 1
            if found and self.looks >= 4 and found[0]["state"] != "JOB_STATE_CANCELLED":
                found[0] |= {"state": self.end, "error": self.error}
            return 200, {"customJobs": found} if found else {}
        if path == "/v2/entries:list":
            return self.read_log(body)
        if path.endswith(":cancel"):
            self.jobs[0]["state"] = "JOB_STATE_CANCELLED"
            return 200, {}
        return 404, {}

    def read_log(self, body):
        if self.refuse_logs:
            return self.refuse_logs, {"error": {"message": "logging.viewer is missing"}}
        if self.refuse_pages and "pageToken" in body:
            return self.refuse_pages, {"error": {"message": "the token has expired"}}
        if self.empty_pages:
            # Logging had no time to search on; the token says where it stopped.
            self.empty_pages -= 1
            return 200, {"nextPageToken": "0"}
        since = body["filter"].split('timestamp>="')[1].rstrip('"')
        assert 'resource.labels.job_id="77"' in body["filter"]
        found = [one for one in self.entries if one["timestamp"] >= since]
        first = int(body.get("pageToken", "0"))
        page = found[first : first + body["pageSize"]]
        self.page_sizes.append(len(page))
        more = first + len(page) < len(found)
        return 200, {"entries": page, **({"nextPageToken": str(first + len(page))} if more else {})}


@pytest.fixture
def vertex(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    state = Vertex()
    with serve(state.answer) as address:
        monkeypatch.setenv(vertex_job.EMULATOR_VARIABLE, address)
        yield state


@pytest.fixture
def jobs(vertex):
    service = VertexJobs(OPTIONS, spec=SPEC, workers=3, restarts=2)
    yield service
    service.close()


def follow(jobs, attempts=1, result=()):
    run_job(
        jobs, "lookalike-train-7", result=result, attempts=attempts, poll_seconds=0.01,
        deadline_seconds=60,
    )  # fmt: skip


def test_a_job_runs_to_its_end_and_each_line_is_told_once(vertex, jobs, capsys):
    follow(jobs)
    said = capsys.readouterr().err
    for number in range(4):
        assert said.count(f"[worker workerpool1-0] epoch {number}\n") == 1
    assert [path for method, path in vertex.calls if method == "POST" and path == JOBS] == [JOBS]


def test_a_job_that_says_much_loses_no_line(vertex, jobs, capsys, monkeypatch):
    monkeypatch.setattr(vertex_job, "_PAGE", 2)
    monkeypatch.setattr(vertex_job, "_PAGES_A_LOOK", 3)
    vertex.entries = [
        {
            "insertId": f"e{n}",
            "timestamp": f"2026-11-22T10:00:{n // 7:02}Z",
            "textPayload": f"l{n}.",
        }
        for n in range(40)
    ]
    jobs.create("lookalike-train-7")
    # A look reads some pages; the next goes on behind them, though seven share a time stamp.
    assert [line.text for line in jobs.new_lines("lookalike-train-7")] == [
        f"l{n}." for n in range(6)
    ]
    follow(jobs)
    said = capsys.readouterr().err
    assert [said.count(f" l{n}.\n") for n in range(6, 40)] == [1] * 34
    assert max(vertex.page_sizes) == 2


def test_a_search_of_the_log_that_takes_long_goes_on_at_the_next_look(vertex, jobs):
    jobs.create("lookalike-train-7")
    vertex.empty_pages = vertex_job._PAGES_A_LOOK + 1
    assert list(jobs.new_lines("lookalike-train-7")) == []
    assert len(list(jobs.new_lines("lookalike-train-7"))) == 4


def test_a_log_that_may_not_be_read_ends_no_wait(vertex, jobs, capsys):
    vertex.refuse_logs = 403
    follow(jobs)
    assert capsys.readouterr().err.count("logging.viewer is missing") == 1
    assert [path for _, path in vertex.calls if path.endswith(":cancel")] == []


def test_a_token_that_is_refused_is_not_used_again(vertex, jobs):
    jobs.create("lookalike-train-7")
    vertex.empty_pages = vertex_job._PAGES_A_LOOK
    list(jobs.new_lines("lookalike-train-7"))
    vertex.refuse_pages = 400
    with pytest.raises(InputError):
        list(jobs.new_lines("lookalike-train-7"))
    assert len(list(jobs.new_lines("lookalike-train-7"))) == 4


@pytest.mark.parametrize(("code", "started"), [(1, 1), (TRY_AGAIN, 3), (137, 3)])
def test_a_failure_that_another_try_may_mend_is_tried_again(vertex, jobs, code, started):
    vertex.end = "JOB_STATE_FAILED"
    message = f"The replica workerpool1-0 exited with a non-zero status of {code}."
    vertex.error = {"message": message}
    with pytest.raises(WorkerError, match=message):
        follow(jobs, attempts=3, result=[NONE])
    assert len(vertex.jobs) == started


def test_a_job_that_is_there_is_found_by_its_name(vertex, jobs):
    assert jobs.state("lookalike-train-7") is None
    jobs.create("lookalike-train-7")
    assert jobs.state("lookalike-train-7").phase == "waiting"
    assert jobs.state("lookalike-train-8") is None


def test_cancelling_cancels_what_runs(vertex, jobs):
    jobs.cancel("lookalike-train-7")
    jobs.create("lookalike-train-7")
    jobs.cancel("lookalike-train-7")
    jobs.cancel("lookalike-train-7")
    assert [path for _, path in vertex.calls if path.endswith(":cancel")] == [f"{JOBS}/77:cancel"]


def test_a_refusal_is_told_in_the_services_words(vertex, jobs):
    vertex.refuse = 403
    with pytest.raises(InputError, match="answered 403: no such project; check project"):
        jobs.state("lookalike-train-7")


def test_a_service_in_trouble_is_asked_again_later(vertex, jobs):
    vertex.refuse = 503
    with pytest.raises(ServiceError, match="answered 503"):
        jobs.state("lookalike-train-7")


def test_the_object_fits_the_published_schema():
    aiplatform_v1 = pytest.importorskip("google.cloud.aiplatform_v1")
    body = job_object("lookalike-train-7", OPTIONS, spec=SPEC, workers=3, restarts=2)
    # Refuses what the published type does not know.
    job = aiplatform_v1.CustomJob.from_json(json.dumps(body))
    chief, others = job.job_spec.worker_pool_specs
    assert (chief.replica_count, others.replica_count) == (1, 2)
    assert chief.machine_spec.accelerator_type.name == "NVIDIA_L4"
    assert list(others.container_spec.args) == ["--spec", str(SPEC)]
    assert job.job_spec.scheduling.restart_job_on_worker_restart
    assert not job.job_spec.scheduling.disable_retries
    assert job.job_spec.scheduling.timeout.total_seconds() == 86_400
    alone = job_object("lookalike-train-7", OPTIONS, spec=SPEC, workers=1, restarts=0)
    assert len(alone["jobSpec"]["workerPoolSpecs"]) == 1
    scheduling = aiplatform_v1.CustomJob.from_json(json.dumps(alone)).job_spec.scheduling
    assert scheduling.disable_retries
    assert not scheduling.restart_job_on_worker_restart


@pytest.mark.parametrize(
    ("state", "phase"),
    [("JOB_STATE_PENDING", "waiting"), ("JOB_STATE_RUNNING", "running"),
     ("JOB_STATE_UPDATING", "running"), ("JOB_STATE_SUCCEEDED", "succeeded"),
     ("JOB_STATE_CANCELLING", "failed"), ("JOB_STATE_CANCELLED", "failed")],
)  # fmt: skip
def test_a_jobs_state_says_how_far_it_is(state, phase):
    assert job_state({"state": state}).phase == phase


def test_a_job_that_somebody_cancels_is_not_started_again(vertex, jobs):
    vertex.end = "JOB_STATE_CANCELLED"
    with pytest.raises(WorkerError, match="somebody cancelled the job"):
        follow(jobs, attempts=3, result=[NONE])
    assert len(vertex.jobs) == 1


def test_a_job_that_was_cancelled_before_is_left(vertex, jobs):
    jobs.create("lookalike-train-7")
    jobs.cancel("lookalike-train-7")
    vertex.end = "JOB_STATE_FAILED"
    with pytest.raises(WorkerError, match="job lookalike-train-7-2 failed"):
        follow(jobs, attempts=1, result=[NONE])
    assert [job["displayName"] for job in vertex.jobs] == [
        "lookalike-train-7", "lookalike-train-7-2"
    ]  # fmt: skip
