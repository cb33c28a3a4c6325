"""`lookalike index history`: who moved a channel, when, why."""

from __future__ import annotations

from itertools import islice

import click

from components.registry import history as sealed_history
from components.registry.channel import Move
from components.registry.opening import open_channel
from pipelines.cli import index_text as text
from pipelines.cli.index_options import (
    answer,
    with_channel,
    with_registry,
)


@click.command(
    epilog="Example: lookalike index history --registry gs://shop/registry --channel prod --all"
)
@with_registry
@with_channel
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Newest N.")
@click.option("--all", "everything", is_flag=True, help="Everything, sealed segments included.")
def history(registry: str, channel: str, limit: int, everything: bool, as_json: bool) -> None:
    """Show a channel's history, the newest first: who did what, when and why.

    Reading all of it checks the hash chain over it, too.
    """
    opened, state = open_channel(registry, channel)
    moves = sealed_history.entries(opened.store, state)
    shown = list(moves if everything else islice(moves, limit))
    if as_json:
        answer(
            {
                "channel": channel,
                "total": state.moves,
                "moves": [move.to_json() for move in shown],
            }
        )
        return
    if not shown:
        click.echo(f"{channel}: nothing has happened yet")
        return
    digits = len(str(shown[0].number))
    for move in shown:
        when = move.when.removesuffix("Z").replace("T", " ")[:16]
        click.echo(f"{move.number:>{digits}}  {when} UTC  {_what(move)}")
        click.echo(text.fields([(" " * digits + move.who, move.why)], indent=0))
    if len(shown) < state.moves:
        click.echo(text.styled(f"{state.moves - len(shown)} older: --all shows them", "quiet"))


def _what(move: Move) -> str:
    if move.kind in ("promote", "rollback"):
        forced = " (FORCED)" if move.forced else ""
        return f"{move.kind} to {text.styled(move.to, 'strong')}{forced}"
    return f"{move.kind} {move.subject}".strip()
