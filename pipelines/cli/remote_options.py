"""The options that `upload`, `submit` and `schedule` share: where to, and which file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipelines.cli.beam_option import beam_option
from pipelines.compiled import FILES, file_of

if TYPE_CHECKING:
    from pipelines.remote.kubeflow import Kubeflow
    from pipelines.remote.package import Package
    from pipelines.remote.vertex import Vertex

_FILE = click.Path(path_type=Path, dir_okay=False)
_Command = TypeVar("_Command", bound=Callable[..., Any])
_OF_KUBEFLOW = ("host", "namespace", "token_file", "ca_file", "experiment")
_OF_VERTEX = ("project", "location", "repository", "pipeline_root", "endpoint", "registry_host")


def _all(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


where_options = _all(
    click.option(
        "--to",
        "backend",
        type=click.Choice(["kubeflow", "vertex"]),
        required=True,
        envvar="LOOKALIKE_BACKEND",
        help="Kubeflow Pipelines, or Vertex AI Pipelines. [env: LOOKALIKE_BACKEND]",
    ),
    click.option(
        "--pipeline",
        type=click.Choice(list(FILES)),
        default="visual-search",
        show_default=True,
        help="Which pipeline.",
    ),
    click.option("--file", type=_FILE, help="Compiled file; the committed one when left out."),
    click.option(
        "--version-name",
        default="",
        help="The version's name; to upload, the commit when left out.",
    ),
    click.option(
        "--host",
        default="",
        envvar="LOOKALIKE_KFP_HOST",
        help="Kubeflow: address of the pipelines API. [env: LOOKALIKE_KFP_HOST]",
    ),
    click.option("--namespace", default="", help="Kubeflow: the profile's namespace."),
    click.option(
        "--token-file",
        type=_FILE,
        envvar="LOOKALIKE_KFP_TOKEN_FILE",
        help="Kubeflow: file with a bearer token. [env: LOOKALIKE_KFP_TOKEN_FILE]",
    ),
    click.option("--ca-file", type=_FILE, help="Kubeflow: certificates the host's is signed with."),
    click.option(
        "--project",
        default="",
        envvar="LOOKALIKE_PROJECT",
        help="Vertex AI: project. [env: LOOKALIKE_PROJECT]",
    ),
    click.option(
        "--location",
        default="",
        envvar="LOOKALIKE_LOCATION",
        help="Vertex AI: region. [env: LOOKALIKE_LOCATION]",
    ),
    click.option(
        "--repository",
        default="pipelines",
        show_default=True,
        envvar="LOOKALIKE_REPOSITORY",
        help="Vertex AI: Artifact Registry repository of format KFP. [env: LOOKALIKE_REPOSITORY]",
    ),
    click.option("--endpoint", default="", hidden=True, envvar="LOOKALIKE_VERTEX_ENDPOINT"),
    click.option("--registry-host", default="", hidden=True, envvar="LOOKALIKE_VERTEX_REGISTRY"),
)

run_options = _all(
    click.option(
        "--config", type=_FILE, help="YAML file of parameter: value and step: {parameter: value}."
    ),
    click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set catalog=..., train.epochs=... (list: lookalike parameters); several times.",
    ),
    beam_option,
    click.option("--name", default="", help="What the UI calls it; made up when left out."),
    click.option(
        "--experiment", default="lookalike", show_default=True, help="Kubeflow: experiment."
    ),
    click.option(
        "--pipeline-root",
        default="",
        envvar="LOOKALIKE_PIPELINE_ROOT",
        help="Vertex AI: gs://bucket/prefix for what steps write. [env: LOOKALIKE_PIPELINE_ROOT]",
    ),
    click.option(
        "--service-account",
        default="",
        envvar="LOOKALIKE_SERVICE_ACCOUNT",
        help="Whom the steps run as. [env: LOOKALIKE_SERVICE_ACCOUNT]",
    ),
)


def refuse_the_others(context: click.Context) -> None:
    """Refuses options of one backend that were typed for the other: they would be left unread."""
    backend = context.params["backend"]
    for name in _OF_VERTEX if backend == "kubeflow" else _OF_KUBEFLOW:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} means nothing with --to {backend}", context)


def kubeflow_of(context: click.Context) -> Kubeflow:
    """Returns where Kubeflow answers, from the options."""
    from pipelines.remote.kubeflow import Kubeflow  # noqa: PLC0415 - lint and yaml

    values = context.params
    if not values["host"]:
        raise click.UsageError("--to kubeflow needs --host (or LOOKALIKE_KFP_HOST)", context)
    return Kubeflow(
        host=values["host"],
        namespace=values["namespace"],
        token_file=values["token_file"],
        ca_file=values["ca_file"],
    )


def vertex_of(context: click.Context) -> Vertex:
    """Returns the project's Vertex AI, from the options."""
    from pipelines.remote.vertex import Vertex  # noqa: PLC0415 - lint and yaml

    values = context.params
    for name in ("project", "location"):
        if not values[name]:
            raise click.UsageError(
                f"--to vertex needs --{name} (or LOOKALIKE_{name.upper()})", context
            )
    return Vertex(
        project=values["project"],
        location=values["location"],
        repository=values["repository"],
        pipeline_root=values.get("pipeline_root", ""),
        service_account=values.get("service_account", ""),
        endpoint=values["endpoint"],
        registry_host=values["registry_host"],
    )


def package_of(context: click.Context) -> Package:
    """Returns the compiled file that the options name, checked.

    Raises:
        click.UsageError: The file holds another pipeline than --pipeline says.
    """
    from pipelines.remote.package import read_package  # noqa: PLC0415 - lint and yaml

    values = context.params
    package = read_package(values["file"] or file_of(values["pipeline"]))
    if package.name != values["pipeline"]:
        raise click.UsageError(
            f"{package.path}: holds the pipeline {package.name}; give --pipeline {package.name}",
            context,
        )
    return package
