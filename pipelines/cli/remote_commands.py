"""`lookalike upload | submit | schedule`: the compiled pipelines on Kubeflow and on Vertex AI."""

from __future__ import annotations

import datetime
import re
from typing import Any

import click

from components.contracts.errors import InputError
from pipelines.cli.remote_options import (
    kubeflow_of,
    package_of,
    refuse_the_others,
    run_options,
    vertex_of,
    where_options,
)


@click.command()
@where_options
@click.pass_context
def upload(context: click.Context, /, **values: Any) -> None:
    """Upload a pipeline as a version named by the commit.

    Uploading the same commit again changes nothing.

    Example: lookalike upload --to kubeflow --host https://kubeflow.example/pipeline
    --token-file token
    """
    from pipelines.remote import kubeflow, vertex  # noqa: PLC0415 - yaml, http
    from pipelines.remote.commit import version_name  # noqa: PLC0415

    refuse_the_others(context)
    where = kubeflow_of(context) if values["backend"] == "kubeflow" else vertex_of(context)
    package = package_of(context)
    version = version_name(values["version_name"])
    if isinstance(where, kubeflow.Kubeflow):
        client = kubeflow.connect(where)
        uploaded = kubeflow.upload(client, where, package, version=version)
        done = "uploaded" if uploaded.is_new else "was there already:"
        click.echo(f"{package.name} {version}: {done} {uploaded.url}")
    else:
        address = vertex.upload(where, package, version=version, login=vertex.credentials())
        click.echo(f"{package.name} {version}: uploaded {address}")


@click.command()
@where_options
@run_options
@click.pass_context
def submit(context: click.Context, /, **values: Any) -> None:
    """Start a run of an uploaded version, the newest unless --version-name says which.

    Every value is checked first; on Vertex AI, --file starts a run of a file that was not uploaded.

    Example: lookalike submit --to kubeflow --host http://localhost:8080
    --set catalog=/data/catalog.csv --set taxonomy=/data/taxonomy.csv --set registry=gs://b/registry
    """
    from pipelines.remote import kubeflow, vertex  # noqa: PLC0415 - yaml, http

    refuse_the_others(context)
    name = values["name"] or _name(values["pipeline"])
    if values["backend"] == "kubeflow":
        where, client, version, given = _on_kubeflow(context)
        run, url = kubeflow.submit(
            client,
            where,
            version,
            given,
            experiment=values["experiment"],
            name=name,
            service_account=values["service_account"],
        )
    else:
        place = vertex_of(context)
        run, url = vertex.submit(place, _vertex_job(context, place, name))
    click.echo(f"started {run}: {url}")


@click.command()
@click.option(
    "--cron",
    required=True,
    metavar="'M H D M W'",
    help="When, in UTC: minute, hour, day of the month, month, weekday.",
)
@click.option("--replace", is_flag=True, help="Put it in the place of the one of the same name.")
@where_options
@run_options
@click.pass_context
def schedule(context: click.Context, /, **values: Any) -> None:
    """Run an uploaded version again and again: one run at a time, none caught up.

    Example: lookalike schedule --to vertex --project shop --location europe-west4
    --pipeline-root gs://shop-pipelines/root --cron '0 3 * * *' --config daily.yaml
    """
    from pipelines.remote import kubeflow, vertex  # noqa: PLC0415 - yaml, http

    refuse_the_others(context)
    cron = _cron(values["cron"])
    name = values["name"] or f"{values['pipeline']}-daily"
    if values["backend"] == "kubeflow":
        where, client, version, given = _on_kubeflow(context)
        made, url = kubeflow.schedule(
            client,
            where,
            version,
            given,
            experiment=values["experiment"],
            name=name,
            cron=cron,
            service_account=values["service_account"],
            replace=values["replace"],
        )
    else:
        place = vertex_of(context)
        job = _vertex_job(context, place, name)
        made, url = vertex.schedule(place, job, name=name, cron=cron, replace=values["replace"])
    click.echo(f"scheduled {made}: {url}")


def _assignments(context: click.Context) -> tuple[str, ...]:
    """Returns what --beam-option and --set say; the latter wins."""
    from pipelines.settings import beam_assignments  # noqa: PLC0415 - yaml

    values = context.params
    return (*beam_assignments(values["beam_options"]), *values["assignments"])


def _on_kubeflow(context: click.Context) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Returns host, client, version and checked values; nothing has been started yet."""
    from pipelines.remote import kubeflow  # noqa: PLC0415
    from pipelines.remote.package import values_for  # noqa: PLC0415

    values = context.params
    if values["file"] is not None:
        raise click.UsageError(
            "--file: on Kubeflow a run is one of an uploaded version; upload the file first",
            context,
        )
    where = kubeflow_of(context)
    # What the committed file refuses needs no network; the version that runs has the last word.
    package = package_of(context)
    values_for(package.document, values["config"], _assignments(context))
    client = kubeflow.connect(where)
    version = kubeflow.find_version(client, where, values["pipeline"], values["version_name"])
    document = version.document or package.document
    return where, client, version, values_for(document, values["config"], _assignments(context))


def _vertex_job(context: click.Context, place: Any, name: str) -> Any:
    from pipelines.remote import vertex  # noqa: PLC0415
    from pipelines.remote.package import values_for  # noqa: PLC0415

    values = context.params
    package = package_of(context)
    vertex.refuse_overlay(package)
    given = values_for(package.document, values["config"], _assignments(context))
    tag = values["version_name"] or "latest"
    if values["file"] is not None and values["version_name"]:
        raise click.UsageError("--file and --version-name: give one of them", context)
    template = str(package.path) if values["file"] else f"{place.host}/{package.name}/{tag}"
    return vertex.make_job(place, template, given, name=name, login=vertex.credentials())


def _name(pipeline: str) -> str:
    return f"{pipeline}-{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}"


def _cron(text: str) -> str:
    """Returns a cron expression of five fields.

    Raises:
        InputError: It is none.
    """
    fields = text.split()
    if len(fields) != 5 or not all(re.fullmatch(r"[0-9*,/-]+", field) for field in fields):
        raise InputError(
            f"--cron {text!r}: expected five fields (minute hour day month weekday, in UTC), such "
            "as '0 3 * * *' for three o'clock every night"
        )
    return " ".join(fields)
