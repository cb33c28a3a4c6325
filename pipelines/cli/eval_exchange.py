"""`lookalike eval import` and `export`: for teams that rate with a crowd vendor."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from components.contracts.files import write_atomically
from components.human_eval.exchange import (
    FORMATS,
    Format,
    export_ratings,
    export_tasks,
    import_ratings,
)
from components.human_eval.judge import gather_ratings
from components.human_eval.label_studio import INTERFACE
from pipelines.cli import index_text as text
from pipelines.cli.eval_options import chosen_campaign, with_campaign
from pipelines.cli.index_options import answer, with_channel, with_registry, with_who


def _kind(path: Path, given: str | None) -> Format:
    if given is not None:
        return next(entry for entry in FORMATS if entry == given)
    return "label-studio" if path.suffix == ".json" else "csv"


_FORMAT = click.option(
    "--format", "kind", type=click.Choice(FORMATS),
    help="By the file's ending when not given: .csv, or .json for Label Studio.",
)  # fmt: skip


@click.command(
    name="import",
    epilog="Example: lookalike eval import ratings.csv --registry R --channel prod",
)
@with_registry
@with_channel
@with_who
@with_campaign
@_FORMAT
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_(
    registry: str,
    channel: str,
    who: str,
    campaign: str,
    version: str,
    kind: str | None,
    file: Path,
    as_json: bool,
) -> None:
    """Add a vendor's ratings: CSV (task_id,rater_id,grade,seconds) or a Label Studio export.

    Rows that cannot count are set aside with their reason. The same file again adds nothing.
    """
    opened = chosen_campaign(registry, channel, campaign, version)
    outcome = import_ratings(
        opened, file.read_bytes(), _kind(file, kind), source=str(file), who=who,
        now=datetime.now(UTC),
    )  # fmt: skip
    if as_json:
        answer({"campaign": opened.id, **asdict(outcome)})
        return
    click.echo(f"{outcome.added:,} ratings added to campaign {opened.id}.")
    pairs = [("rows", f"{outcome.rows:,}"), ("known", f"{outcome.known:,} were there already")]
    pairs += [
        ("set aside", f"{count:,} {reason.replace('_', ' ')}")
        for reason, count in outcome.set_aside.items()
    ]
    click.echo(text.fields(pairs))


@click.command(
    epilog="Example: lookalike eval export tasks.json --what tasks --registry R --channel prod "
    "--images https://bucket.example/campaign"
)
@with_registry
@with_channel
@with_campaign
@_FORMAT
@click.option("--what", type=click.Choice(["tasks", "ratings", "interface"]), default="tasks",
              show_default=True,
              help="What raters see, what counts of what they said, or Label Studio's "
              "labelling interface.")  # fmt: skip
@click.option("--images", default="", metavar="PREFIX",
              help="What to put before the images' paths in tasks.")  # fmt: skip
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export(
    registry: str,
    channel: str,
    campaign: str,
    version: str,
    kind: str | None,
    what: str,
    images: str,
    file: Path,
    as_json: bool,
) -> None:
    """Write tasks for a vendor, or the ratings that count, as CSV or Label Studio's JSON."""
    opened = chosen_campaign(registry, channel, campaign, version)
    chosen = _kind(file, kind)
    if what == "interface":
        data = INTERFACE.encode()
    elif what == "tasks":
        data = export_tasks(chosen, opened, images=images)
    else:
        ratings, _ = gather_ratings(opened, now=datetime.now(UTC))
        data = export_ratings(ratings.valid, chosen, opened)
    write_atomically(file, data)
    if as_json:
        answer({"campaign": opened.id, "file": str(file), "bytes": len(data)})
    else:
        click.echo(f"{what} of campaign {opened.id} are in {file}")
