"""`lookalike compile`: the pipelines as portable files for Kubeflow and Vertex AI."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.compiled import FILES
from pipelines.profile import COMMITTED

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("compile")
@click.option(
    "--pipeline",
    type=click.Choice([*FILES, "all"]),
    default="all",
    show_default=True,
    help="Which pipeline.",
)
@click.option(
    "--output",
    type=_FILE,
    help="File to write, or to check; the committed ones when left out. Needs one --pipeline.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Write nothing; exit 1 with the differing lines when a file is stale, or has faults.",
)
@click.option(
    "--profile",
    default=COMMITTED,
    show_default=True,
    metavar="NAME|FILE",
    help="Resources by step: laptop, kubeflow-cpu, kubeflow-gpu, vertex, or a YAML file.",
)
@click.option(
    "--kubernetes",
    type=_FILE,
    metavar="FILE",
    help="Write a second file, for Kubeflow only, with node selectors, tolerations, secrets and "
    "volumes from this YAML file.",
)
@click.option(
    "--pin-digests",
    type=_FILE,
    metavar="FILE",
    help="Name images by digest, from a file of image: reference@sha256:...; needs --output.",
)
def compile_(
    pipeline: str,
    output: Path | None,
    check: bool,
    profile: str,
    kubernetes: Path | None,
    pin_digests: Path | None,
) -> None:
    """Compile the pipelines to KFP IR (YAML), which runs here, on Kubeflow and on Vertex AI.

    The committed files ask for processors and memory only; --profile, --kubernetes and
    --pin-digests write other copies beside them.

    Example: lookalike compile --pipeline visual-search --profile vertex --output release.yaml
    """
    from pipelines.compiler import Options, check_compiled, write_compiled  # noqa: PLC0415 - yaml
    from pipelines.images import read_digests  # noqa: PLC0415
    from pipelines.kubernetes_overlay import read_overlay  # noqa: PLC0415
    from pipelines.profile import read_profile  # noqa: PLC0415

    names = list(FILES) if pipeline == "all" else [pipeline]
    if output is not None and len(names) > 1:
        # As before there were two: the main one.
        names = ["visual-search"]
    special = profile != COMMITTED or pin_digests is not None
    if check and (special or kubernetes):
        raise click.UsageError("--check compares the committed form; leave out the other options")
    if special and output is None:
        raise click.UsageError(
            "--profile and --pin-digests write a copy, never the committed file: give --output"
        )
    if check:
        for name in names:
            target = output or FILES[name]
            check_compiled(name, target)
            click.echo(f"{target}: up to date")
        return
    chosen = read_profile(profile)
    digests = read_digests(pin_digests) if pin_digests else None
    overlay = read_overlay(kubernetes) if kubernetes else None
    for name in names:
        target = output or FILES[name]
        write_compiled(name, target, Options(chosen, digests=digests))
        click.echo(f"wrote {target}")
        if overlay is not None:
            second = target.with_suffix(f".kubernetes{target.suffix}")
            write_compiled(name, second, Options(chosen, overlay, digests))
            click.echo(f"wrote {second} (Kubeflow only)")
