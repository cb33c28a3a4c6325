"""Options and answers that the `lookalike index` commands share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from components.contracts.errors import LookalikeError
from components.registry.registry import Registry

Command = TypeVar("Command", bound=Callable[..., Any])


def complete_versions(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Completes a version in a shell, newest first; offers nothing where there is no registry."""
    return _complete(context, incomplete, lambda registry: registry.versions()[::-1])


def complete_channels(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Completes a channel's name in a shell."""
    return _complete(context, incomplete, lambda registry: registry.channels())


def _complete(
    context: click.Context, incomplete: str, offer: Callable[[Registry], list[str]]
) -> list[str]:
    uri = context.params.get("registry")
    if not uri:
        return []
    try:
        return [name for name in offer(Registry.open(uri)) if name.startswith(incomplete)]
    except LookalikeError:
        # A shell that completes has no place for an error; the command will say it.
        return []


def with_registry(command: Command) -> Command:
    """Adds `--registry` and `--json`."""
    command = click.option(
        "--registry",
        required=True,
        envvar="LOOKALIKE_REGISTRY",
        show_envvar=True,
        metavar="URI",
        help="A path, file:///path or gs://bucket/prefix.",
    )(command)
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on standard output."
    )(command)


def with_channel(command: Command) -> Command:
    """Adds `--channel`, which must be given."""
    return click.option(
        "--channel",
        required=True,
        envvar="LOOKALIKE_CHANNEL",
        show_envvar=True,
        metavar="NAME",
        help="The channel.",
        shell_complete=complete_channels,
    )(command)


def with_reason(command: Command) -> Command:
    """Adds `--reason`, which must be given, and `--who`."""
    command = click.option(
        "--reason", required=True, help="Why, in words; stands in the history for ever."
    )(command)
    return with_who(command)


def with_who(command: Command) -> Command:
    """Adds `--who`."""
    return click.option(
        "--who",
        default=_me,
        show_default="you@this-host",
        envvar="LOOKALIKE_WHO",
        help="Who does it, for the history.",
    )(command)


def with_dry_run(command: Command) -> Command:
    """Adds `--dry-run`."""
    return click.option(
        "--dry-run", is_flag=True, help="Only say what would happen; change nothing."
    )(command)


def _me() -> str:
    # Loaded here: status does not ask who you are.
    import getpass  # noqa: PLC0415
    import socket  # noqa: PLC0415

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def answer(value: dict[str, Any]) -> None:
    """Prints the JSON answer."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
