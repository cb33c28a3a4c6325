"""`lookalike index promote|rollback|freeze|...`: everything that changes a channel."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from components.promote.promote import promote_candidate
from components.registry import events
from components.registry.channel import Move, check_text
from components.registry.registry import Registry
from pipelines.cli import index_text as text
from pipelines.cli.index_options import (
    answer,
    complete_versions,
    open_channel,
    open_registry,
    with_channel,
    with_dry_run,
    with_reason,
    with_registry,
)


def _finish(
    registry: str,
    channel: str,
    move: Move | None,
    *,
    words: str,
    reasons: Sequence[str] = (),
    result: dict[str, Any],
    as_json: bool,
) -> None:
    """Says what was done: words for people, a JSON event for programs, a POST for the webhook.

    Words go to standard error, so that standard output holds nothing but JSON; a person at a
    terminal sees only the words.
    """
    event = None
    if move is not None and move.kind in events.EVENT_KINDS:
        event = events.event(registry, channel, move)
    if as_json:
        answer({"channel": channel, **result, "event": event})
    else:
        click.echo(text.bullets(words, reasons, wrap=sys.stderr.isatty()), err=True)
        if event is not None and not sys.stdout.isatty():
            click.echo(events.to_line(event))
    if event is not None:
        sys.stdout.flush()
        if problem := events.announce_soon(event):
            click.echo(f"warning: {problem}", err=True)


@click.command(
    epilog="Example: lookalike index promote 20261122-1a2b3c --registry gs://shop/registry "
    '--channel prod --reason "new autumn range"'
)
@click.argument("version", shell_complete=complete_versions)
@with_registry
@with_channel
@with_reason
@with_dry_run
@click.option(
    "--force",
    is_flag=True,
    help="Override verdicts, policy and freeze; recorded. Never overrides integrity.",
)
def promote(
    version: str,
    registry: str,
    channel: str,
    reason: str,
    who: str,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Make a version live, if its verdicts, its bytes and the channel's policy allow it."""
    check_text("--reason", reason)
    open_registry(registry)
    outcome = promote_candidate(
        registry=registry,
        channel=channel,
        version=version,
        expected_incumbent=None,
        who=who,
        why=reason,
        force=force,
        dry_run=dry_run,
    )
    before = outcome.previous or "nothing"
    if outcome.outcome == "promoted":
        verb = "would be" if dry_run else "is"
        words = f"{channel}: {text.styled(version, 'live')} {verb} live; before: {before}"
    elif outcome.outcome == "unchanged":
        words = f"{channel}: {version} is live already; nothing was changed"
    else:
        words = text.styled(f"{channel}: refused; {before} stays live", "alarm")
    _finish(
        registry,
        channel,
        outcome.move,
        words=words,
        reasons=outcome.reasons,
        result=outcome.to_json(),
        as_json=as_json,
    )
    if outcome.outcome == "refused":
        raise SystemExit(1)


@click.command(
    epilog="Example: lookalike index rollback --registry gs://shop/registry --channel prod "
    '--reason "sofas answer with lamps"'
)
@with_registry
@with_channel
@with_reason
@with_dry_run
@click.option(
    "--to",
    metavar="VERSION",
    default="",
    help="A version that was live before.",
    shell_complete=complete_versions,
)
def rollback(
    registry: str, channel: str, reason: str, who: str, dry_run: bool, to: str, as_json: bool
) -> None:
    """Bring back what was live before, and quarantine what is live now.

    Works on a frozen channel, too, and asks no gate.
    """
    check_text("--reason", reason)
    opened, state = open_channel(registry, channel)
    target, passed = opened.plan_rollback(state, to=to)
    move = None
    if not dry_run:
        move = opened.move(
            channel,
            to=target,
            expected_from=state.live,
            kind="rollback",
            who=who,
            why=reason,
            checked=state,
        )
    verb = "would be" if dry_run else "is"
    words = f"{channel}: {text.styled(target, 'live')} {verb} live again"
    reasons = [
        f"{state.live} {verb} quarantined; `lookalike index release {state.live}` ends that",
        *(f"passed over: {reason}" for reason in passed),
    ]
    result = {
        "outcome": "rolled_back",
        "from": state.live,
        "to": target,
        "passed_over": list(passed),
        "dry_run": dry_run,
        "move": None if move is None else move.to_json(),
    }
    _finish(registry, channel, move, words=words, reasons=reasons, result=result, as_json=as_json)


@click.command(
    epilog="Example: lookalike index freeze --registry gs://shop/registry --channel prod "
    '--reason "sale until Sunday"'
)
@with_registry
@with_channel
@with_reason
@with_dry_run
def freeze(
    registry: str, channel: str, reason: str, who: str, dry_run: bool, as_json: bool
) -> None:
    """Take no promotion until `unfreeze`. Rollback still works."""
    _note(registry, channel, reason, who, "freeze", "", dry_run=dry_run, as_json=as_json)


@click.command(
    epilog="Example: lookalike index unfreeze --registry gs://shop/registry --channel prod "
    '--reason "the sale is over"'
)
@with_registry
@with_channel
@with_reason
@with_dry_run
def unfreeze(
    registry: str, channel: str, reason: str, who: str, dry_run: bool, as_json: bool
) -> None:
    """Take promotions again."""
    _note(registry, channel, reason, who, "unfreeze", "", dry_run=dry_run, as_json=as_json)


@click.command(
    epilog="Example: lookalike index quarantine 20261122-1a2b3c --registry gs://shop/registry "
    '--channel prod --reason "wrong prices in the catalog"'
)
@click.argument("version", shell_complete=complete_versions)
@with_registry
@with_channel
@with_reason
@with_dry_run
def quarantine(
    version: str,
    registry: str,
    channel: str,
    reason: str,
    who: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Keep a version from going live on the channel until `release`."""
    _note(registry, channel, reason, who, "quarantine", version, dry_run=dry_run, as_json=as_json)


@click.command(
    epilog="Example: lookalike index release 20261122-1a2b3c --registry gs://shop/registry "
    '--channel prod --reason "it was the catalog, not the index"'
)
@click.argument("version", shell_complete=complete_versions)
@with_registry
@with_channel
@with_reason
@with_dry_run
def release(
    version: str,
    registry: str,
    channel: str,
    reason: str,
    who: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """End a version's quarantine. Makes nothing live by itself."""
    _note(registry, channel, reason, who, "release", version, dry_run=dry_run, as_json=as_json)


_DONE = {
    "freeze": "frozen: no promotion is taken; rollback still works",
    "unfreeze": "takes promotions again",
    "quarantine": "{} is quarantined",
    "release": "{} is released; nothing is promoted by that",
}


def _note(
    registry: str,
    channel: str,
    reason: str,
    who: str,
    kind: str,
    subject: str,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    check_text("--reason", reason)
    opened, _ = open_channel(registry, channel)
    if dry_run:
        opened.check_note(channel, kind, subject)
        move = None
    else:
        move = _write(opened, channel, kind, subject, who=who, why=reason)
    words = f"{channel}: {'would be: ' if dry_run else ''}{_DONE[kind].format(subject)}"
    result = {
        "outcome": kind,
        "version": subject,
        "dry_run": dry_run,
        "move": None if move is None else move.to_json(),
    }
    _finish(registry, channel, move, words=words, result=result, as_json=as_json)


def _write(
    registry: Registry, channel: str, kind: str, subject: str, *, who: str, why: str
) -> Move:
    if kind == "freeze":
        return registry.freeze(channel, who=who, why=why)
    if kind == "unfreeze":
        return registry.unfreeze(channel, who=who, why=why)
    if kind == "quarantine":
        return registry.quarantine(channel, subject, who=who, why=why)
    return registry.release(channel, subject, who=who, why=why)
