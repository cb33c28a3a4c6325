"""`lookalike index promote|rollback|freeze|...`: everything that changes a channel."""

from __future__ import annotations

import sys

import click

from components.promote import operations
from components.registry import events
from components.registry.channel import Kind, check_text
from pipelines.cli import index_text as text
from pipelines.cli.index_options import (
    answer,
    complete_versions,
    with_channel,
    with_dry_run,
    with_reason,
    with_registry,
)


def _finish(channel: str, done: operations.Done, *, as_json: bool) -> None:
    """Says what was done: words for people, a JSON event for programs, a POST for the webhook.

    Words go to standard error, so that standard output holds nothing but JSON; a person at a
    terminal sees only the words.

    Raises:
        SystemExit: 1: a gate refused it.
    """
    if as_json:
        answer({"channel": channel, **done.result, "event": done.event})
    else:
        words = text.styled(done.words, "alarm") if done.refused else done.words
        if done.version:
            words = words.replace(done.version, text.styled(done.version, "live"), 1)
        click.echo(text.bullets(words, done.reasons, wrap=sys.stderr.isatty()), err=True)
        if done.event is not None and not sys.stdout.isatty():
            click.echo(events.to_line(done.event))
    if done.event is not None:
        sys.stdout.flush()
        if problem := events.announce_soon(done.event):
            click.echo(f"warning: {problem}", err=True)
    if done.refused:
        raise SystemExit(1)


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
    done = operations.promote(
        registry=registry,
        channel=channel,
        version=version,
        who=who,
        why=reason,
        force=force,
        dry_run=dry_run,
    )
    _finish(channel, done, as_json=as_json)


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
    done = operations.roll_back(
        registry=registry, channel=channel, to=to, who=who, why=reason, dry_run=dry_run
    )
    _finish(channel, done, as_json=as_json)


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


def _note(
    registry: str,
    channel: str,
    reason: str,
    who: str,
    kind: Kind,
    subject: str,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    check_text("--reason", reason)
    done = operations.note(
        kind,
        registry=registry,
        channel=channel,
        version=subject,
        who=who,
        why=reason,
        dry_run=dry_run,
    )
    _finish(channel, done, as_json=as_json)
