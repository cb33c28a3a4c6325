"""`lookalike serve`: answers from what a channel points to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from pipelines.cli.access_options import access_options, tell


@click.command()
@click.option(
    "--registry", required=True, help="Registry: a folder, file:// or gs://bucket/prefix."
)
@click.option("--channel", required=True, help="Channel whose live version is served.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for downloaded bundles; kept between starts.",
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that gets {port, version} as JSON when the server answers.",
)
@click.option(
    "--images",
    is_flag=True,
    help="Show the catalog's pictures too (those whose SHA-256 is the indexed one).",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Server processes that share the port; each holds the index and the encoder.",
)
@click.option(
    "--spare",
    is_flag=True,
    help="One process more stands by, so that loading a bundle delays no answer.",
)
@click.option("--second-channel", help="Another channel whose version is tried beside this one.")
@click.option(
    "--second-mode",
    default="shadow",
    show_default=True,
    type=click.Choice(["shadow", "canary"]),
    help="shadow: answers in the background and is compared; canary: answers for real.",
)
@click.option(
    "--second-share",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share of requests that the second channel's version gets.",
)
@click.option(
    "--query-log-share",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share of queries counted in the registry, for `lookalike traffic`.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other setting by its name, such as encoder_batch=16; may be repeated.",
)
@access_options
def serve(
    registry: str,
    channel: str,
    host: str,
    port: int,
    cache: Path | None,
    ready_file: Path | None,
    images: bool,
    workers: int,
    spare: bool,
    second_channel: str | None,
    second_mode: str,
    second_share: float,
    query_log_share: float,
    assignments: tuple[str, ...],
    **access: object,
) -> None:
    """Serve similar items and search by photo from a channel's live version.

    Follows the channel: after a promotion or a rollback the new version answers within seconds,
    with no request dropped. Searching is open, acting is not: see --token-file.

    Example: lookalike serve --registry .lookalike/demo/registry --channel demo --images
    """
    from serving.main import assigned  # noqa: PLC0415 - loads the server
    from serving.main import serve as run_server  # noqa: PLC0415

    tell(access, os.environ)
    sys.exit(
        run_server(
            registry=registry,
            channel=channel,
            bundle=None,
            host=host,
            port=port,
            ready_file=ready_file,
            cache=cache,
            images=images,
            workers=workers,
            spare=spare,
            second_channel=second_channel,
            second_mode=second_mode,
            second_share=second_share,
            query_log_share=query_log_share,
            **assigned(assignments),
        )
    )
