"""`lookalike compile`: the pipeline as one portable file for Kubeflow and Vertex AI."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.compiled import VISUAL_SEARCH


@click.command("compile")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write, or to check; the packaged pipeline when left out.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when the file is stale.")
def compile_(output: Path | None, check: bool) -> None:
    """Compile the pipeline to KFP IR (YAML).

    Example: lookalike compile --output visual_search.yaml
    """
    from pipelines.compiler import check_compiled, write_compiled  # noqa: PLC0415

    target = output or VISUAL_SEARCH
    if check:
        check_compiled(target)
        click.echo(f"{target}: up to date")
    else:
        write_compiled(target)
        click.echo(f"wrote {target}")
