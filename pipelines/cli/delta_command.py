"""`lookalike delta`: a few items added, replaced or taken out between two daily builds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from pipelines.cli.index_options import answer, with_channel, with_reason, with_registry

_FILE = click.Path(path_type=Path, dir_okay=False)
_SHOWN = 5
REFUSED = 3


@click.command()
@with_registry
@with_channel
@with_reason
@click.option(
    "--upsert",
    type=_FILE,
    help="Items to add or replace: a catalog table (CSV, JSON lines or Parquet).",
)
@click.option(
    "--delete", "deletes", multiple=True, metavar="ID", help="Item to take out; may be repeated."
)
@click.option("--delete-file", type=_FILE, help="File with one id to take out a line.")
@click.option(
    "--max-changed-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.1,
    show_default=True,
    help="Share of the last whole build's items that may have changed since, over all deltas; "
    "past it a rebuild is asked for.",
)
@click.option(
    "--max-reject-share",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="Largest share of the table's rows that may be set aside.",
)
@click.option(
    "--promote/--no-promote",
    default=True,
    show_default=True,
    help="Make it live where the gates and the channel's policy allow it.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".lookalike/delta"),
    show_default=True,
    help="Folder for the reports, the figures and what was set aside; emptied first.",
)
def delta(
    registry: str,
    channel: str,
    reason: str,
    who: str,
    upsert: Path | None,
    deletes: tuple[str, ...],
    delete_file: Path | None,
    max_changed_share: float,
    max_reject_share: float,
    promote: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Put a few changed items into the live index, without a whole build.

    The items are embedded by the live encoder. The result is a version of its own: published,
    judged by the offline gate and asked in a real server. It goes live on the human verdict of the
    last whole build only within the share of changed results that the channel's policy allows
    (max_inherited_change; 0, the default, never lets it).

    Exit codes: 0 live (or built, with --no-promote), 3 refused by a gate, 2 wrong usage or input,
    1 failure or a rebuild is due.

    Example: lookalike delta --registry gs://shop/registry --channel prod --upsert sofas.csv
    --delete i00042 --reason "ten new sofas"
    """
    listed = _ids(delete_file) if delete_file else ()
    if upsert is None and not (*deletes, *listed):
        raise click.UsageError("Give --upsert, --delete or --delete-file.")
    # TensorFlow's greetings would bury what is said here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from components.index.delta import DeltaConfig  # noqa: PLC0415 - numpy, TensorFlow
    from pipelines.delta import DeltaRequest, run_delta  # noqa: PLC0415

    outcome = run_delta(
        DeltaRequest(
            registry=registry,
            channel=channel,
            upserts=upsert,
            deletes=(*deletes, *listed),
            who=who,
            why=reason,
            max_reject_share=max_reject_share,
            promote=promote,
        ),
        DeltaConfig(max_changed_share=max_changed_share),
        output=output,
    )
    words = [
        f"{outcome.version}: {outcome.base} with {outcome.upserts:,} items added or replaced and "
        f"{outcome.deletes:,} taken out; {outcome.items:,} items, {outcome.changed_share:.1%} "
        "changed since the last whole build",
        *(f"set aside: {one.key}: {one.detail}" for one in outcome.rejects[:_SHOWN]),
    ]
    if len(outcome.rejects) > _SHOWN:
        words.append(f"and {len(outcome.rejects) - _SHOWN:,} more set aside")
    words.append(outcome.verdict.summary())
    done = outcome.promotion
    if done:
        words += [done.words, *(f"- {reason}" for reason in done.reasons)]
    else:
        words.append("a candidate; not promoted, as asked")
    click.echo("\n".join(words), err=True)
    click.echo(f"report: {output / 'report.html'}", err=True)
    if as_json:
        answer(outcome.to_json())
    refused = done.refused if done else outcome.verdict.status != "pass"
    sys.exit(REFUSED if refused else 0)


def _ids(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"--delete-file {path}: {error}") from None
    return tuple(line.strip() for line in lines if line.strip())
