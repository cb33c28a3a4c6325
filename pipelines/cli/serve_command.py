"""`lookalike serve`: answers from what a channel points to."""

from __future__ import annotations

import sys
from pathlib import Path

import click


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
def serve(
    registry: str,
    channel: str,
    host: str,
    port: int,
    cache: Path | None,
    ready_file: Path | None,
    images: bool,
) -> None:
    """Serve similar items and search by photo from a channel's live version.

    Follows the channel: after a promotion or a rollback the new version answers within seconds,
    with no request dropped.

    Example: lookalike serve --registry .lookalike/demo/registry --channel demo --images
    """
    from serving.main import serve as run_server  # noqa: PLC0415 - loads TensorFlow and ScaNN

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
        )
    )
