"""Training groups as CustomJobs of Vertex AI, over its REST interface (v1)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google.auth
import google.auth.exceptions
import requests
from google.auth.transport.requests import AuthorizedSession

from components.contracts.errors import InputError
from components.train.backend_config import BackendConfig
from components.train.remote_job import JobState, LogLine, Phase, ServiceError, is_final

# For tests, as STORAGE_EMULATOR_HOST is for Cloud Storage: spoken to without credentials.
EMULATOR_VARIABLE = "LOOKALIKE_VERTEX_EMULATOR"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_SECONDS = 30.0
# Cloud Logging gives no longer pages, and answers one project 60 times a minute.
_PAGE = 1000
_PAGES_A_LOOK = 5
_EXIT_CODE = re.compile(r"non-zero status of (\d+)")
_PHASES: dict[str, Phase] = {
    "JOB_STATE_QUEUED": "waiting",
    "JOB_STATE_PENDING": "waiting",
    "JOB_STATE_SUCCEEDED": "succeeded",
    "JOB_STATE_FAILED": "failed",
    # What is being cancelled will not succeed.
    "JOB_STATE_CANCELLING": "failed",
    "JOB_STATE_CANCELLED": "failed",
    "JOB_STATE_EXPIRED": "failed",
    "JOB_STATE_PARTIALLY_SUCCEEDED": "failed",
}


@dataclass
class _Reading:
    """How far the log of a job has been read.

    Attributes:
        since: Time stamp of the newest entry that was read.
        seen: Which entries of that time stamp were.
        query: The filter that `page` belongs to.
        page: Token of the next page, empty when there is none.
    """

    since: str
    seen: set[str] = field(default_factory=set)
    query: str = ""
    page: str = ""

    def lines_in(self, answer: dict[str, Any]) -> list[LogLine]:
        """Returns the lines of a page that are new."""
        found = []
        for entry in answer.get("entries", ()):
            if entry["insertId"] in self.seen:
                continue
            if entry["timestamp"] != self.since:
                self.since, self.seen = entry["timestamp"], set()
            self.seen.add(entry["insertId"])
            worker = entry.get("resource", {}).get("labels", {}).get("task_name", "?")
            words = entry.get("textPayload") or entry.get("jsonPayload", {}).get("message", "")
            found += [LogLine(worker, line) for line in str(words).splitlines() if line.strip()]
        return found


class VertexJobs:
    """The CustomJobs of a project and region; credentials are the application's default ones.

    Vertex names jobs itself, so ours are found by their display name. The account needs
    `roles/aiplatform.user`, `roles/logging.viewer`, and to act as the workers' service account.
    """

    def __init__(self, options: BackendConfig, *, spec: Path, workers: int, restarts: int) -> None:
        """Finds credentials.

        Args:
            options: Where and with what the workers run.
            spec: The file that says what to train, in the staging directory.
            workers: How many workers.
            restarts: Whether Vertex may start the whole job again by itself: if above 0.

        Raises:
            InputError: There are no credentials.
        """
        self._options = options
        self._spec = spec
        self._workers = workers
        self._restarts = restarts
        self._read: dict[str, _Reading] = {}
        emulator = os.environ.get(EMULATOR_VARIABLE, "")
        self._vertex = emulator or f"https://{options.region}-aiplatform.googleapis.com"
        self._logging = emulator or "https://logging.googleapis.com"
        self._session: requests.Session
        if emulator:
            self._session = requests.Session()
        else:
            try:
                credentials, _ = google.auth.default(scopes=[_SCOPE])
            except google.auth.exceptions.DefaultCredentialsError:
                raise InputError(
                    "train.backend: expected Google Cloud credentials for backend vertex; run as a "
                    "service account, or `gcloud auth application-default login`"
                ) from None
            self._session = AuthorizedSession(credentials)

    def state(self, name: str) -> JobState | None:
        """See `JobService`."""
        job = self._find(name)
        return None if job is None else job_state(job)

    def create(self, name: str) -> None:
        """See `JobService`."""
        job = job_object(
            name, self._options, spec=self._spec, workers=self._workers, restarts=self._restarts
        )
        self._ask("POST", f"{self._vertex}/v1/{self._place()}/customJobs", job)

    def new_lines(self, name: str) -> Iterator[LogLine]:
        """See `JobService`; reads the workers' lines from Cloud Logging, some pages a look."""
        job = self._find(name)
        if job is None:
            return
        number = str(job["name"]).rsplit("/", 1)[-1]
        reading = self._read.setdefault(name, _Reading(since=str(job.get("createTime", ""))))
        for _ in range(_PAGES_A_LOOK):
            if not reading.page:
                reading.query = f'resource.type="ml_job" AND resource.labels.job_id="{number}"'
                if reading.since:
                    reading.query += f' AND timestamp>="{reading.since}"'
            # A token that is refused is forgotten: the next look starts from the newest entry.
            page, reading.page = reading.page, ""
            answer = self._ask(
                "POST",
                f"{self._logging}/v2/entries:list",
                {
                    "resourceNames": [f"projects/{self._options.project}"],
                    "filter": reading.query,
                    "orderBy": "timestamp asc",
                    "pageSize": _PAGE,
                    **({"pageToken": page} if page else {}),
                },
            )
            reading.page = str(answer.get("nextPageToken", ""))
            yield from reading.lines_in(answer)
            if not reading.page:
                return

    def cancel(self, name: str) -> None:
        """See `JobService`."""
        job = self._find(name)
        if job is not None and job_state(job).phase in ("waiting", "running"):
            self._ask("POST", f"{self._vertex}/v1/{job['name']}:cancel", {})

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def _find(self, name: str) -> dict[str, Any] | None:
        answer = self._ask(
            "GET",
            f"{self._vertex}/v1/{self._place()}/customJobs",
            parameters={"filter": f'displayName="{name}"', "pageSize": "10"},
        )
        # Two tries at the same moment may both have started one: all go by the older.
        jobs = sorted(answer.get("customJobs", ()), key=lambda job: str(job.get("createTime", "")))
        return jobs[0] if jobs else None

    def _place(self) -> str:
        return f"projects/{self._options.project}/locations/{self._options.region}"

    def _ask(
        self,
        method: str,
        url: str,
        body: dict[str, Any] | None = None,
        *,
        parameters: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        try:
            response = self._session.request(
                method, url, json=body, params=parameters, timeout=_SECONDS
            )
        except (requests.RequestException, google.auth.exceptions.TransportError) as error:
            raise ServiceError(f"Vertex AI cannot be reached ({type(error).__name__})") from None
        except google.auth.exceptions.RefreshError:
            raise InputError(
                "train.backend: the Google Cloud credentials were rejected; log in again"
            ) from None
        if response.status_code in (400, 401, 403, 404):
            raise InputError(
                f"train.backend: Vertex AI answered {response.status_code}: {_message(response)}; "
                "check project, region, image and the account's roles"
            )
        if not response.ok:
            raise ServiceError(f"Vertex AI answered {response.status_code}")
        try:
            answer: dict[str, Any] = response.json()
        except json.JSONDecodeError:
            raise ServiceError("Vertex AI answered with something else than JSON") from None
        return answer


def job_object(
    name: str, options: BackendConfig, *, spec: Path, workers: int, restarts: int
) -> dict[str, Any]:
    """Returns the CustomJob that trains what `spec` says.

    The first pool holds the first worker, which Vertex calls the chief. A worker that ends with an
    exit code fails the whole job, which is then the step's to start again; Vertex repeats crashes
    (SIGABRT, SIGSEGV) and its own errors itself. A worker that it moves to another machine is gone
    for the others, so that the whole job has to start again. See "Understand the custom training
    service" in Vertex AI's documentation.
    """
    machine: dict[str, Any] = {"machineType": options.machine_type}
    if options.gpus:
        machine |= {
            "acceleratorType": options.accelerator_type or "NVIDIA_TESLA_T4",
            "acceleratorCount": options.gpus,
        }
    pool = {
        "machineSpec": machine,
        "containerSpec": {
            "imageUri": options.image,
            "command": ["python", "-m", "components.train"],
            "args": ["--spec", str(spec)],
            "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}],
        },
    }
    pools = [{**pool, "replicaCount": "1"}]
    if workers > 1:
        pools.append({**pool, "replicaCount": str(workers - 1)})
    job: dict[str, Any] = {
        "workerPoolSpecs": pools,
        "scheduling": {
            "timeout": f"{round(options.deadline_hours * 3600)}s",
            "restartJobOnWorkerRestart": restarts > 0,
            "disableRetries": restarts == 0,
        },
    }
    if options.service_account:
        job["serviceAccount"] = options.service_account
    return {"displayName": name, "jobSpec": job, "labels": {"part-of": "lookalike"}}


def job_state(job: dict[str, Any]) -> JobState:
    """Returns what a CustomJob says of itself; the exit code of its worker is in its words."""
    state = str(job.get("state", ""))
    reason = str(job.get("error", {}).get("message", ""))
    final = is_final(int(code) for code in _EXIT_CODE.findall(reason))
    if state in ("JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED"):
        reason, final = reason or "somebody cancelled the job", True
    return JobState(_PHASES.get(state, "running"), reason, final)


def _message(response: requests.Response) -> str:
    try:
        return str(response.json()["error"]["message"])[:200]
    except (ValueError, KeyError, TypeError):
        return response.reason or "no reason given"
