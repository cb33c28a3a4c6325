"""Vertex AI Pipelines, through Google's own client; pipelines are kept in Artifact Registry."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.contracts.errors import InputError, LookalikeError
from pipelines.local.ir import Scalar
from pipelines.remote.package import Package

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_CALL_S = 60.0


@dataclass(frozen=True)
class Vertex:
    """A project's Vertex AI.

    Attributes:
        project: The project's id.
        location: The region, such as europe-west4.
        repository: The Artifact Registry repository (format KFP) that keeps uploaded pipelines.
        pipeline_root: gs://bucket/prefix for what the steps write.
        service_account: Whom the steps run as; empty for the project's default, which may do too
            much.
        endpoint: Another address of the API, for a private endpoint; empty for Google's.
        registry_host: Another address of the repository; empty for Google's.
    """

    project: str
    location: str
    repository: str = "pipelines"
    pipeline_root: str = ""
    service_account: str = ""
    endpoint: str = ""
    registry_host: str = ""

    def __post_init__(self) -> None:
        """Refuses what Google would refuse later.

        Raises:
            InputError: A name cannot be one.
        """
        if not re.fullmatch(r"[a-z][a-z0-9:.-]{4,}[a-z0-9]", self.project):
            raise InputError(f"--project {self.project!r}: expected a project's id")
        if not re.fullmatch(r"[a-z]+-[a-z]+[0-9]+", self.location):
            raise InputError(
                f"--location {self.location!r}: expected a region such as europe-west4"
            )
        if self.pipeline_root and not re.fullmatch(r"gs://[a-z0-9._-]+(/\S*)?", self.pipeline_root):
            raise InputError(f"--pipeline-root {self.pipeline_root!r}: expected gs://bucket/prefix")

    @property
    def host(self) -> str:
        """Where the repository takes pipelines."""
        return (
            self.registry_host
            or f"https://{self.location}-kfp.pkg.dev/{self.project}/{self.repository}"
        )


def refuse_overlay(package: Package) -> None:
    """Refuses a file with Kubernetes' settings.

    Raises:
        InputError: It has a second document.
    """
    if not package.is_portable:
        raise InputError(
            f"{package.path}: has a second document with Kubernetes' settings, which Vertex AI "
            "refuses; send the portable file"
        )


def credentials() -> Any:
    """Returns the credentials that this machine has.

    Raises:
        LookalikeError: It has none.
    """
    import google.auth  # noqa: PLC0415 - only Vertex needs it
    from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415

    try:
        found, _ = google.auth.default(scopes=_SCOPES)
    except DefaultCredentialsError:
        raise LookalikeError(
            "Google Cloud: no credentials here; run `gcloud auth application-default login`, or "
            "in CI let the job act as a service account"
        ) from None
    return found


def upload(where: Vertex, package: Package, *, version: str, login: Any) -> str:
    """Uploads a pipeline under the tags of its version and `latest`; returns its address.

    Raises:
        LookalikeError: The repository cannot be reached or refuses.
    """
    from google.auth.transport.requests import Request  # noqa: PLC0415 - only Vertex needs it
    from kfp.registry import ApiAuth, RegistryClient  # noqa: PLC0415 - kfp

    refuse_overlay(package)
    with _plain_errors(where.host, where):
        if not login.valid:
            login.refresh(Request())
        client = RegistryClient(host=where.host, auth=ApiAuth(login.token))
        name, _ = client.upload_pipeline(
            str(package.path),
            tags=[version, "latest"],
            extra_headers={"description": package.description},
        )
    return f"{where.host}/{name}/{version}"


def make_job(
    where: Vertex,
    template: str,
    values: Mapping[str, Scalar],
    *,
    name: str,
    login: Any,
) -> Any:
    """Returns a `PipelineJob`, built and checked here without a network.

    Args:
        where: The project.
        template: A compiled file, or the address of an uploaded version.
        values: Value by pipeline parameter.
        name: What the console shows.
        login: Credentials.
    """
    from google.cloud import aiplatform  # noqa: PLC0415 - five seconds

    if not where.pipeline_root:
        raise InputError("--pipeline-root: expected gs://bucket/prefix for what the steps write")
    aiplatform.init(
        project=where.project,
        location=where.location,
        credentials=login,
        api_endpoint=where.endpoint or None,
        # Over HTTP, as everything else here: one way through a proxy, and testable.
        api_transport="rest",
    )
    with _plain_errors(template, where):
        try:
            return aiplatform.PipelineJob(
                display_name=name,
                template_path=template,
                pipeline_root=where.pipeline_root,
                parameter_values=dict(values),
                project=where.project,
                location=where.location,
                credentials=login,
                labels={"app": "lookalike"},
            )
        except ValueError as error:
            raise InputError(f"{template}: {error}") from None


def submit(where: Vertex, job: Any) -> tuple[str, str]:
    """Starts a run; returns its name and its page."""
    with _plain_errors("Vertex AI", where):
        job.submit(service_account=where.service_account or None, create_request_timeout=_CALL_S)
        return job.resource_name, job._dashboard_uri()


def schedule(where: Vertex, job: Any, *, name: str, cron: str, replace: bool) -> tuple[str, str]:
    """Makes a schedule; returns its name and its page. One run at a time.

    Raises:
        LookalikeError: There is one of that name already, and `replace` was not asked for.
    """
    from google.cloud import aiplatform  # noqa: PLC0415

    with _plain_errors("Vertex AI", where):
        before = aiplatform.PipelineJobSchedule.list(
            filter=f'display_name="{name}" AND state!="COMPLETED"',
            project=where.project,
            location=where.location,
        )
        if before and not replace:
            raise LookalikeError(
                f"Vertex AI: the schedule {name!r} exists already; --replace puts this one in its "
                "place, --name makes a second"
            )
        made = job.create_schedule(
            cron=f"TZ=UTC {cron}",
            display_name=name,
            max_concurrent_run_count=1,
            service_account=where.service_account or None,
            create_request_timeout=_CALL_S,
        )
        # The new one first: a failure in between leaves one too many, never none.
        for one in before:
            one.delete()
        return made.resource_name, made._dashboard_uri()


@contextlib.contextmanager
def _plain_errors(what: str, where: Vertex) -> Iterator[None]:
    """Turns the clients' errors into one line."""
    import requests  # noqa: PLC0415 - with kfp
    from google.api_core.exceptions import GoogleAPICallError, RetryError  # noqa: PLC0415
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415

    try:
        yield
    except requests.HTTPError as error:
        raise _refused(what, where, error.response.status_code, error.response.text) from None
    except GoogleAPICallError as error:
        raise _refused(what, where, int(error.code or 0), error.message) from None
    except GoogleAuthError as error:
        raise LookalikeError(
            f"{what}: the credentials cannot be used ({type(error).__name__}); run "
            "`gcloud auth application-default login`"
        ) from None
    except (requests.ConnectionError, requests.Timeout, RetryError) as error:
        raise LookalikeError(
            f"{what}: cannot be reached ({type(error).__name__}); nothing was started"
        ) from None


def _refused(what: str, where: Vertex, status: int, said: str) -> LookalikeError:
    text = " ".join(said.split())[:400]
    if status in (401, 403):
        return LookalikeError(
            f"{what}: rejects the credentials ({status}) for project {where.project}: {text}"
        )
    return LookalikeError(f"{what}: answers {status}: {text}")
