"""Starting and stopping the server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import write_json
from serving.identity.config import AccessConfig
from serving.listening import bind, listen
from serving.settings import Settings
from serving.workers import Supervisor


def serve(
    *,
    registry: str | None,
    channel: str | None,
    bundle: Path | None,
    host: str,
    port: int,
    ready_file: Path | None,
    cache: Path | None,
    images: bool = False,
    **others: Any,
) -> int:
    """Serves until SIGTERM or SIGINT; see `serving.settings.Settings` for the arguments.

    Returns:
        0: the server was told to stop.

    Raises:
        LookalikeError: Nothing can be served: the port is taken, the channel is empty, the first
            bundle fails a check. The message says what to do.
    """
    settings = Settings(
        registry=registry,
        channel=channel,
        bundle=bundle,
        host=host,
        port=port,
        ready_file=ready_file,
        cache=cache,
        images=images,
        access=AccessConfig.from_environment(),
        **{name: value for name, value in others.items() if value is not None},
    )
    return run(settings)


def run(settings: Settings) -> int:
    """Serves as `serve` does, with every setting in the caller's hands."""
    if settings.ready_file is not None:
        settings.ready_file.unlink(missing_ok=True)
    # What is cheap to find out comes first: nobody waits for TensorFlow to hear of a taken port.
    listener = bind(settings.host, settings.port)
    # Listening at once makes a second server on this port fail here, not later.
    listen(listener)
    settings = replace(settings, port=listener.getsockname()[1])

    def tell_ready(version: str) -> None:
        if settings.ready_file is not None:
            write_json(settings.ready_file, {"port": settings.port, "version": version})

    try:
        if settings.workers > 1 or settings.spare:
            return Supervisor(settings, listener, tell_ready).run()
        from serving.process import ServerProcess  # noqa: PLC0415 - a supervisor needs no app

        return ServerProcess(settings, listener, tell_ready).run()
    finally:
        listener.close()


def parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m serving`."""
    result = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    result.add_argument("--registry", help="URI of the registry whose channel is followed")
    result.add_argument("--channel", help="channel whose live bundle is served")
    result.add_argument("--bundle", type=Path, help="serve this bundle directory as it is")
    result.add_argument("--host", default="127.0.0.1", help="address to bind (%(default)s)")
    result.add_argument("--port", type=int, default=8000, help="0 takes a free one (%(default)s)")
    result.add_argument("--ready-file", type=Path, help="gets the port and version once ready")
    result.add_argument("--cache", type=Path, help="folder for downloaded bundles")
    result.add_argument(
        "--images",
        action="store_true",
        help="show catalog pictures: local files that are still what was indexed",
    )
    result.add_argument("--workers", type=int, help="server processes that share the port (1)")
    result.add_argument(
        "--spare",
        action="store_true",
        help="one process more stands by, so that loading a bundle delays no answer",
    )
    result.add_argument("--second-channel", help="another channel whose bundle is tried")
    result.add_argument(
        "--second-mode",
        choices=("shadow", "canary"),
        help="shadow: compared in the background; canary: answers for real (shadow)",
    )
    result.add_argument("--second-share", type=float, help="share of requests it gets (0.05)")
    result.add_argument(
        "--query-log-share", type=float, help="share of queries that the registry's log keeps (0)"
    )
    result.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="assignments",
        help="any other setting by its name, such as encoder_batch=16; may be repeated",
    )
    return result


def assigned(assignments: Sequence[str]) -> dict[str, int | float | bool]:
    """Returns the settings given as NAME=VALUE.

    Raises:
        InputError: There is no such setting, or the value is of another kind.
    """
    kinds = {
        entry.name: type(entry.default)
        for entry in fields(Settings)
        if isinstance(entry.default, (bool, int, float))
    }
    values: dict[str, int | float | bool] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or name not in kinds:
            raise InputError(
                f"--set {assignment!r}: expected NAME=VALUE with one of {', '.join(sorted(kinds))}"
            )
        kind = kinds[name]
        try:
            values[name] = _BOOLEANS[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            raise InputError(f"--set {name}: expected {_KINDS[kind]}, received {text!r}") from None
    return values


_BOOLEANS = {"true": True, "false": False}
_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = vars(parser().parse_args(arguments))
    try:
        return serve(**assigned(options.pop("assignments")) | options)
    except LookalikeError as error:
        sys.stderr.write(f"lookalike: {error}\n")
        return error.exit_code
