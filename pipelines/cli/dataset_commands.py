"""`lookalike dataset`: turns public data sets into catalogs."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def dataset() -> None:
    """Turn a public data set into a catalog that `lookalike run` takes."""


@dataset.command("fashion-mnist")
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder with the four IDX files, gzipped or not.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder to write catalog.csv, queries.csv, taxonomy.csv and images/ into.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), help="Take only the first N images of each part."
)
def fashion_mnist(source: Path, output: Path, limit: int | None) -> None:
    """Convert Fashion-MNIST's IDX files (Debian's package dataset-fashion-mnist has them).

    Example: lookalike dataset fashion-mnist --source /usr/share/datasets/fashion-mnist
    --output fashion
    """
    from components.catalog.fashion_mnist import convert  # noqa: PLC0415 - needs Pillow

    counts = convert(source, output, limit=limit)
    for name, count in counts.items():
        click.echo(f"{name}: {count:,}")
    click.echo(
        "next: lookalike run "
        f"--catalog {output}/catalog.csv --taxonomy {output}/taxonomy.csv "
        f"--queries {output}/queries.csv --workspace .lookalike/fashion"
    )
