"""`lookalike export-vertex`: a version's embeddings for Vertex AI Vector Search."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from components.contracts.errors import InputError
from components.registry.registry import Registry

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("export-vertex")
@click.option("--bundle", type=_FOLDER, help="A bundle directory.")
@click.option(
    "--registry",
    envvar="LOOKALIKE_REGISTRY",
    show_envvar=True,
    metavar="URI",
    help="Registry to take the version from, when no --bundle is given.",
)
@click.option(
    "--channel",
    envvar="LOOKALIKE_CHANNEL",
    show_envvar=True,
    metavar="NAME",
    help="Take what is live on this channel.",
)
@click.option("--version", metavar="VERSION", help="Take this version.")
@click.option(
    "--since",
    metavar="VERSION",
    help="Write only what changed since this version of the registry, and what is gone.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["json", "avro"]),
    default="json",
    show_default=True,
    help="Format of the data files.",
)
@click.option("--output", type=_FOLDER, required=True, help="Folder to make.")
def export_vertex(
    bundle: Path | None,
    registry: str | None,
    channel: str | None,
    version: str | None,
    since: str | None,
    kind: str,
    output: Path,
) -> None:
    """Write a version's embeddings in Vertex AI Vector Search's import format.

    Makes OUTPUT/batch, to be copied to Cloud Storage as it is, and OUTPUT/index_metadata.json for
    gcloud ai indexes create. Records restrict by department, taxon and product, and crowd by
    product.

    Example: lookalike export-vertex --registry gs://shop/registry --channel prod --output export
    """
    from components.index.vertex_export import export_vertex as export  # noqa: PLC0415 - numpy

    with tempfile.TemporaryDirectory(prefix="lookalike-export-") as scratch:
        before = None
        if bundle is None or since:
            if not registry:
                raise click.UsageError("Give --bundle, or --registry with --channel or --version.")
            opened = Registry.open(registry)
        if bundle is None:
            bundle = opened.download_bundle(_version(opened, channel, version), Path(scratch) / "b")
        if since:
            before = opened.download_bundle(since, Path(scratch) / "since")
        done = export(bundle, output, kind=kind, since=before)
    words = [f"{done.version}: {done.vectors:,} vectors in {done.files:,} files under {output}"]
    if done.since:
        words.append(f"since {done.since}: {done.deletions:,} ids to remove in batch/delete")
    if done.why_whole:
        words.append(f"the batch is whole: {done.why_whole}")
    words.append(f"next: gcloud storage cp -r {output}/batch gs://BUCKET/lookalike/")
    click.echo("\n".join(words), err=True)


def _version(registry: Registry, channel: str | None, version: str | None) -> str:
    if version:
        return version
    if not channel:
        raise click.UsageError("Give --channel or --version with --registry.")
    live = registry.channel(channel).live
    if not live:
        raise InputError(f"channel {channel}: nothing is live that could be exported")
    return live
