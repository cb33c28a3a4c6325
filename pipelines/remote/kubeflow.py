"""Kubeflow Pipelines, through its own client."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import re
import ssl
import sys
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.contracts.errors import InputError, LookalikeError
from pipelines.local.ir import Scalar
from pipelines.remote.package import Package, named

_TIMEOUT_S = 10.0
_MOST = 100


@dataclass(frozen=True)
class Kubeflow:
    """Where Kubeflow Pipelines answers, and as whom.

    Attributes:
        host: Address of the API, such as https://kubeflow.example/pipeline.
        namespace: The profile's namespace; empty for a single-user installation.
        token_file: Holds a bearer token; None when the host asks for none (a port-forward).
        ca_file: Certificates that the host's is signed with; None for the system's.
    """

    host: str
    namespace: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuses what is no address.

        Raises:
            InputError: The host has no scheme.
        """
        if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", self.host):
            raise InputError(
                f"--host {self.host!r}: expected an address such as https://kubeflow.example/"
                "pipeline, or http://localhost:8080 for a port-forward"
            )

    @property
    def base(self) -> str:
        """The address without a slash at its end."""
        return self.host.rstrip("/")


@dataclass(frozen=True)
class Version:
    """An uploaded version of a pipeline.

    Attributes:
        name: Its name: a commit.
        pipeline_id: The pipeline's id.
        id: Its own id.
        url: Its page.
        is_new: Whether this upload made it; one of that name may have been there.
        document: The specification, as the server keeps it.
    """

    name: str
    pipeline_id: str
    id: str
    url: str
    is_new: bool
    document: Mapping[str, Any]


def connect(where: Kubeflow) -> Any:
    """Returns a client of a host that answered, with credentials that it took.

    Raises:
        LookalikeError: The host cannot be reached, is something else, or rejects the credentials.
    """
    token = _token(where)
    _knock(where, token)
    import kfp  # noqa: PLC0415 - a second, after what can be refused at once

    with _plain_errors(where), warnings.catch_warnings():
        # It says that backends from before 2023 will not do.
        warnings.simplefilter("ignore", FutureWarning)
        return kfp.Client(
            host=where.base,
            namespace=where.namespace or "kubeflow",
            existing_token=token,
            ssl_ca_cert=str(where.ca_file) if where.ca_file else None,
        )


def upload(client: Any, where: Kubeflow, package: Package, *, version: str) -> Version:
    """Uploads a version, unless there is one of that name.

    Raises:
        LookalikeError: Another pipeline is kept under the name, or the server refuses.
    """
    with _plain_errors(where):
        pipeline_id = client.get_pipeline_id(package.name)
        if pipeline_id is None:
            # A pipeline without versions first: kfp's upload_pipeline would name the first version
            # after the pipeline, and not after the commit.
            import kfp_server_api  # noqa: PLC0415 - with kfp

            body = kfp_server_api.V2beta1Pipeline(
                display_name=package.name,
                name=package.name,
                description=package.description,
                namespace=where.namespace or None,
            )
            created = client._pipelines_api.pipeline_service_create_pipeline(body)
            pipeline_id = created.pipeline_id
        for known in _versions(client, pipeline_id):
            if known.display_name == version:
                if known.pipeline_spec and _spec(known) != package.document:
                    raise LookalikeError(
                        f"{where.base}: {package.name} has another pipeline as version {version}; "
                        "a version never changes: commit, or give --version-name"
                    )
                return _version(where, known, is_new=False)
        uploaded = client.upload_pipeline_version(
            str(package.path),
            pipeline_version_name=version,
            pipeline_id=pipeline_id,
            description=package.description,
        )
        return _version(where, uploaded, is_new=True)


def find_version(client: Any, where: Kubeflow, pipeline: str, version: str) -> Version:
    """Returns an uploaded version.

    Args:
        client: What `connect` returned.
        where: The host.
        pipeline: The pipeline's name.
        version: The version's name; empty for the newest.

    Raises:
        InputError: There is no such pipeline or version.
    """
    with _plain_errors(where):
        pipeline_id = client.get_pipeline_id(pipeline)
        if pipeline_id is None:
            raise InputError(
                f"{where.base}: no pipeline {pipeline!r} was uploaded yet (lookalike upload)"
            )
        versions = {known.display_name: known for known in _versions(client, pipeline_id)}
        if not versions:
            raise InputError(f"{where.base}: {pipeline} has no version yet (lookalike upload)")
        chosen = named(list(versions), version or next(iter(versions)), what="--version-name")
        return _version(where, versions[chosen], is_new=False)


def submit(
    client: Any,
    where: Kubeflow,
    version: Version,
    values: Mapping[str, Scalar],
    *,
    experiment: str,
    name: str,
    service_account: str,
) -> tuple[str, str]:
    """Starts a run; returns its id and its page."""
    with _plain_errors(where):
        home = client.create_experiment(experiment, namespace=where.namespace or None)
        run = client.run_pipeline(
            home.experiment_id,
            name,
            params=dict(values),
            pipeline_id=version.pipeline_id,
            version_id=version.id,
            service_account=service_account or None,
        )
    return run.run_id, f"{where.base}/#/runs/details/{run.run_id}"


def schedule(
    client: Any,
    where: Kubeflow,
    version: Version,
    values: Mapping[str, Scalar],
    *,
    experiment: str,
    name: str,
    cron: str,
    service_account: str,
    replace: bool,
) -> tuple[str, str]:
    """Makes a recurring run; returns its id and its page. One run at a time, none caught up.

    Raises:
        LookalikeError: There is one of that name already, and `replace` was not asked for.
    """
    with _plain_errors(where):
        home = client.create_experiment(experiment, namespace=where.namespace or None)
        listed = client.list_recurring_runs(page_size=_MOST, experiment_id=home.experiment_id)
        before = [one for one in listed.recurring_runs or [] if one.display_name == name]
        if before and not replace:
            raise LookalikeError(
                f"{where.base}: the schedule {name!r} exists already; --replace puts this one in "
                "its place, --name makes a second"
            )
        made = client.create_recurring_run(
            home.experiment_id,
            name,
            # KFP's cron has the seconds in front; its clock is UTC.
            cron_expression=f"0 {cron}",
            max_concurrency=1,
            no_catchup=True,
            params=dict(values),
            pipeline_id=version.pipeline_id,
            version_id=version.id,
            service_account=service_account or None,
        )
        # The new one first: a failure in between leaves one too many, never none.
        for one in before:
            client.delete_recurring_run(one.recurring_run_id)
    return made.recurring_run_id, f"{where.base}/#/recurringrun/details/{made.recurring_run_id}"


def _versions(client: Any, pipeline_id: str) -> list[Any]:
    """Returns a pipeline's versions, the newest first."""
    found: list[Any] = []
    token = ""
    while True:
        page = client.list_pipeline_versions(
            pipeline_id, page_token=token, page_size=_MOST, sort_by="created_at desc"
        )
        found.extend(page.pipeline_versions or [])
        token = page.next_page_token or ""
        if not token:
            return found


def _spec(version: Any) -> Mapping[str, Any]:
    """Returns the specification; with Kubernetes' settings the server wraps it."""
    spec = version.pipeline_spec or {}
    inner: Mapping[str, Any] = spec.get("pipeline_spec", spec)
    return inner


def _version(where: Kubeflow, version: Any, *, is_new: bool) -> Version:
    return Version(
        name=version.display_name,
        pipeline_id=version.pipeline_id,
        id=version.pipeline_version_id,
        url=f"{where.base}/#/pipelines/details/{version.pipeline_id}/version/"
        f"{version.pipeline_version_id}",
        is_new=is_new,
        document=_spec(version),
    )


def _token(where: Kubeflow) -> str | None:
    if where.token_file is None:
        return None
    try:
        token = where.token_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError(
            f"--token-file {where.token_file}: cannot be read ({error.strerror})"
        ) from None
    if not token or any(character.isspace() for character in token):
        raise InputError(f"--token-file {where.token_file}: expected one token, nothing else")
    return token


def _knock(where: Kubeflow, token: str | None) -> None:
    """Asks for the API's health: kfp's own client would try five times and show a traceback."""
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        f"{where.base}/apis/v2beta1/healthz",
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )
    context = ssl.create_default_context(cafile=where.ca_file) if where.ca_file else None
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=context) as answer:  # noqa: S310
            json.loads(answer.read(100_000))
    except urllib.error.HTTPError as error:
        raise _refused(where, error.code, "") from None
    except ValueError:
        raise LookalikeError(
            f"{where.base}: answers, but not as Kubeflow Pipelines' API (a login page?); expected "
            "the address under which /apis/v2beta1/healthz gives JSON"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise LookalikeError(
            f"{where.base}: cannot be reached ({reason}); nothing was started"
        ) from None


def _refused(where: Kubeflow, status: int, said: str) -> LookalikeError:
    if status in (401, 403):
        how = f"the credentials in {where.token_file}" if where.token_file else "no credentials"
        return LookalikeError(
            f"{where.base}: rejects {how} ({status}); expected a token that may use "
            f"{f'namespace {where.namespace}' if where.namespace else 'the API'}: --token-file"
        )
    if status == 404 and not said:
        return LookalikeError(
            f"{where.base}: answers 404 for /apis/v2beta1/healthz; expected the address of "
            "Kubeflow Pipelines' API, such as .../pipeline"
        )
    return LookalikeError(f"{where.base}: answers {status}{f': {said}' if said else ''}")


@contextlib.contextmanager
def _plain_errors(where: Kubeflow) -> Iterator[None]:
    """Turns the client's errors into one line, and its remarks on stdout away from stdout."""
    import kfp_server_api  # noqa: PLC0415 - with kfp
    import urllib3  # noqa: PLC0415

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except kfp_server_api.ApiException as error:
        raise _refused(where, error.status or 0, _message(error)) from None
    except (urllib3.exceptions.HTTPError, TimeoutError, ConnectionError) as error:
        raise LookalikeError(f"{where.base}: stopped answering ({type(error).__name__})") from None
    finally:
        logger.setLevel(level)


def _message(error: Any) -> str:
    try:
        body = json.loads(error.body)
    except (ValueError, TypeError):
        return str(error.reason or "")
    said = body.get("message") or body.get("error") or error.reason
    return " ".join(str(said).split())[:400]
