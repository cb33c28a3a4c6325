"""`lookalike run`: the compiled pipeline on this machine, from a catalog to a promoted index."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from pipelines.cli.beam_option import beam_option

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option(
    "--pipeline",
    type=click.Choice(["visual-search", "release"]),
    default="visual-search",
    show_default=True,
    help="All steps; or judge and promote a candidate whose ratings came later.",
)
@click.option("--catalog", type=_FILE, help="Catalog: CSV, JSON lines or Parquet.")
@click.option("--taxonomy", type=_FILE, help="Taxonomy: taxon_id,parent_id,name.")
@click.option("--votes", type=_FILE, help="Crowd votes: item_id,worker_id,taxon_id.")
@click.option("--queries", type=_FILE, help="Shopper photos: query_id,image,product_id,taxon_id.")
@click.option(
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for results, logs, report.html and the registry.",
)
@click.option("--channel", default="demo", show_default=True, help="Channel to promote on.")
@click.option(
    "--mode",
    type=click.Choice(["auto", "scratch", "warm", "reuse"]),
    default="auto",
    show_default=True,
    help="Train anew, go on from the live encoder, or keep it; auto decides by what changed.",
)
@click.option(
    "--raters",
    type=click.Choice(["simulated", "web", "none"]),
    default="none",
    show_default=True,
    help="Who judges the candidate. Simulated raters know the taxonomy: for demos only.",
)
@click.option("--registry", default="", help="Registry, when it is not the workspace's own.")
@click.option(
    "--version",
    default="",
    help="With --pipeline release: the candidate; the one that raters are at when left out.",
)
@click.option("--config", "config", type=_FILE, help="YAML file of step: {parameter: value}.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="STEP.PARAMETER=VALUE",
    help="Set one parameter; may be given several times (list: lookalike parameters).",
)
@beam_option
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object on stdout.")
@click.pass_context
def run(
    context: click.Context,
    pipeline: str,
    catalog: Path | None,
    taxonomy: Path | None,
    votes: Path | None,
    queries: Path | None,
    workspace: Path,
    channel: str,
    mode: str,
    raters: str,
    registry: str,
    version: str,
    config: Path | None,
    assignments: tuple[str, ...],
    beam_options: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the pipeline on this machine: catalog to promoted index.

    Finished steps are kept: after a failure, or with one parameter changed, only what is needed
    runs again. Exit codes: 0 promoted, 3 refused by a gate, 2 wrong usage or input, 1 failure.

    With --pipeline release, the candidate that an earlier run left undecided is judged with the
    ratings that have come since; nothing is built.

    Example: lookalike run --catalog shop/catalog.csv --taxonomy shop/taxonomy.csv
    --workspace .lookalike/shop
    """
    from pipelines.local.run import (  # noqa: PLC0415 - pyyaml, rich
        Inputs,
        release_locally,
        run_locally,
    )
    from pipelines.settings import beam_assignments  # noqa: PLC0415 - pyyaml

    if pipeline == "release":
        _refuse_given(
            context, ("catalog", "taxonomy", "votes", "queries", "mode", "raters", "beam_options")
        )
        summary = release_locally(
            workspace=workspace,
            channel=channel,
            version=version,
            config=config,
            assignments=assignments,
            registry=registry,
        )
    else:
        _refuse_given(context, ("version",))
        if catalog is None or taxonomy is None:
            missing = "--catalog" if catalog is None else "--taxonomy"
            raise click.UsageError(f"Missing option '{missing}'.", context)
        summary = run_locally(
            Inputs(catalog=catalog, taxonomy=taxonomy, votes=votes, queries=queries),
            workspace=workspace,
            channel=channel,
            mode=mode,
            raters=raters,
            config=config,
            assignments=(*beam_assignments(beam_options), *assignments),
            registry=registry,
        )
    from pipelines.local.summary import to_terminal  # noqa: PLC0415

    click.echo(to_terminal(summary), err=True)
    if as_json:
        click.echo(json.dumps(summary.to_json(), allow_nan=False))
    sys.exit(summary.exit_code)


def _refuse_given(context: click.Context, names: tuple[str, ...]) -> None:
    """Refuses options that the chosen pipeline would leave unread."""
    for name in names:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            option = "beam-option" if name == "beam_options" else name
            raise click.UsageError(
                f"--{option} means nothing with --pipeline {context.params['pipeline']}", context
            )
