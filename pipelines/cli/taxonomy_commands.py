"""`lookalike taxonomy`: what a curator asks about the tree, and what the crowd would add to it."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from components.contracts.errors import InputError
from components.contracts.files import write_atomically
from components.contracts.taxonomy import COLUMNS, Taxonomy

_TABLE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def taxonomy() -> None:
    """Check a taxonomy, compare two versions, see what the crowd proposes."""


@taxonomy.command("check")
@click.argument("file", type=_TABLE)
def check(file: Path) -> None:
    """Check FILE and tell every problem at once; exit code 1 when there are any.

    Example: lookalike taxonomy check taxonomy.csv
    """
    tree = Taxonomy.read(file)
    retired = [taxon for taxon in tree.taxa if taxon.status == "retired"]
    click.echo(
        f"{file}: {len(tree.taxa) - len(retired):,} nodes in use, {len(tree.leaves):,} leaves, "
        f"{len(tree.departments):,} departments, {len(tree.levels)} levels; {len(retired):,} "
        f"retired, {sum(bool(taxon.redirect) for taxon in retired):,} of them merged"
    )


@taxonomy.command("diff")
@click.argument("old", type=_TABLE)
@click.argument("new", type=_TABLE)
@click.option("--html", "page_file", type=_TABLE, help="Write the tree with its changes here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(old: Path, new: Path, page_file: Path | None, as_json: bool) -> None:
    """Show what changes from OLD to NEW: nodes added, retired, merged, moved, renamed.

    A NEW without class ids is numbered as the pipeline would number it after OLD.

    Example: lookalike taxonomy diff live/taxonomy.csv taxonomy.csv --html diff.html
    """
    from components.contracts import taxonomy_diff  # noqa: PLC0415 - pages need Pillow

    before, after = Taxonomy.read(old), Taxonomy.read(new)
    if not _numbered(new):
        after = after.with_class_ids_of(before)
    changes = taxonomy_diff.compare(before, after)
    if page_file is not None:
        title = f"Taxonomy: {old.name} to {new.name}"
        write_atomically(page_file, taxonomy_diff.render(before, after, changes, title=title))
    if as_json:
        click.echo(json.dumps([asdict(change) for change in changes], indent=2))
        return
    if not changes:
        click.echo("no change")
    header = ("change", "node", "class id", "before", "after")
    lines = [header, *taxonomy_diff.rows(changes)] if changes else []
    cells = [[str(cell) for cell in line] for line in lines]
    widths = [max((len(line[column]) for line in cells), default=0) for column in range(5)]
    for line in cells:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())
    if changes:
        counts = Counter(change.kind for change in changes)
        click.echo(", ".join(f"{count:,} {kind}" for kind, count in counts.items()))
    if page_file is not None:
        click.echo(f"page: {page_file}")


@taxonomy.command("propose")
@click.argument("proposals", type=_TABLE)
@click.option("--taxonomy", "tree_file", type=_TABLE, required=True, help="Taxonomy as it is.")
@click.option("--catalog", type=_TABLE, required=True, help="Catalog that the items are from.")
@click.option("--votes", type=_TABLE, help="Votes: who guesses or copies there does not count.")
@click.option("--output", type=_TABLE, help="Write rows here that can be appended to the taxonomy.")
@click.option("--html", "page_file", type=_TABLE, help="Write a page with the items' pictures.")
@click.option("--min-workers", type=click.IntRange(min=1), help="Different workers needed [3].")
@click.option("--min-items", type=click.IntRange(min=1), help="Different items needed [5].")
@click.option("--min-agreement", type=click.FloatRange(0, 1), help="Share that must agree [0.6].")
def propose(
    proposals: Path,
    tree_file: Path,
    catalog: Path,
    votes: Path | None,
    output: Path | None,
    page_file: Path | None,
    min_workers: int | None,
    min_items: int | None,
    min_agreement: float | None,
) -> None:
    """List the new nodes that enough of the crowd asks for (item, worker, parent, name).

    Nothing is added to the taxonomy: a curator looks at the list, and appends what is right.

    Example: lookalike taxonomy propose proposals.csv --taxonomy taxonomy.csv --catalog catalog.csv
    --votes votes.csv --output new-nodes.csv
    """
    from components.catalog.config import CatalogConfig  # noqa: PLC0415 - needs numpy
    from components.catalog.labels import set_aside_in  # noqa: PLC0415
    from components.catalog.proposals import candidates_of  # noqa: PLC0415
    from components.catalog.tables import read_table  # noqa: PLC0415

    given = {
        "proposal_workers": min_workers,
        "proposal_items": min_items,
        "proposal_agreement": min_agreement,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    config = CatalogConfig(**settings)  # type: ignore[arg-type]
    tree = Taxonomy.read(tree_file)
    items = read_table(catalog, required=("item_id", "image"), what="catalog")
    known = set(items.column("item_id"))
    unreliable: dict[str, str] = {}
    if votes is not None:
        table = read_table(votes, required=("worker_id", "taxon_id"), what="votes")
        unreliable = set_aside_in(table, taxonomy=tree, known=known, config=config)
    asked = read_table(proposals, required=(), what="proposals")
    found, rejects = candidates_of(
        asked,
        taxonomy=tree,
        known=known,
        unreliable=unreliable,
        config=config,
    )
    for one in found:
        path = " > ".join(part for part in (tree.names(one.parent_id), one.name) if part)
        click.echo(
            f"{one.taxon_id}: {path} ({one.workers:,} workers, {one.items:,} items, "
            f"{one.agreement:.0%} agree; for example {', '.join(one.examples[:3])})"
        )
    click.echo(f"{len(found):,} candidates; {len(rejects):,} rows set aside")
    for reason, count in Counter(reject.reason for reject in rejects).most_common():
        first = next(reject for reject in rejects if reject.reason == reason)
        click.echo(f"  {reason} {count:,}, the first: row {first.row}, {first.detail}")
    if rejects and len(rejects) == asked.total:
        raise InputError(
            f"{proposals}: expected proposals for items of {catalog} and parents of {tree_file}, "
            "every row was set aside; nothing was written"
        )
    if page_file is not None:
        from components.catalog.proposals_page import render  # noqa: PLC0415 - needs Pillow

        images = dict(zip(items.column("item_id"), items.column("image"), strict=True))
        text = render(
            found,
            taxonomy=tree,
            images=images,
            folder=catalog.parent,
            limits=config.image_limits,
        )
        write_atomically(page_file, text)
        click.echo(f"page: {page_file}")
    if output is not None:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((one.taxon_id, one.parent_id, one.name) for one in found)
        write_atomically(output, buffer.getvalue())
        click.echo(f"rows to append once a curator has looked at them: {output}")


def _numbered(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return "class_id" in file.readline()
    except OSError as error:
        raise InputError(f"{path}: the taxonomy cannot be read ({error.strerror})") from None
