"""`lookalike rate`: people judge a campaign's pairs in a web page."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from components.contracts.errors import InputError

_KEY_FILE = click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the secret that links are signed with; else LOOKALIKE_RATING_KEY_FILE, or "
    "LOOKALIKE_RATING_KEY itself, in the environment.",
)


@click.group(
    invoke_without_command=True,
    epilog="Example: lookalike rate --registry .lookalike/demo/registry --channel demo "
    "--key-file rating.key",
)
@click.option("--registry", help="Registry: a folder, file:// or gs://bucket/prefix.")
@click.option("--channel", help="Channel whose campaign is rated.")
@click.option("--campaign", default="", help="One campaign; else whichever runs in the channel.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--url", default="", help="Where people reach it, such as https://rate.example.com.")
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that gets {port, campaign} as JSON when the server answers.",
)
@click.option(
    "--lease-minutes",
    default=10.0,
    show_default=True,
    help="Minutes until pairs that a rater left are given to others.",
)
@click.option(
    "--break-minutes",
    default=20.0,
    show_default=True,
    help="Minutes of rating after which a break is suggested.",
)
@_KEY_FILE
@click.pass_context
def rate(
    context: click.Context,
    registry: str | None,
    channel: str | None,
    campaign: str,
    host: str,
    port: int,
    url: str,
    ready_file: Path | None,
    lease_minutes: float,
    break_minutes: float,
    key_file: Path | None,
) -> None:
    """Serve the rating application: one pair at a time, by keyboard, on a desk or a phone.

    Every answer is in the registry before it is acknowledged; the server can be killed and
    started again at any moment, and several may run on one registry. `lookalike rate key` makes
    the key, `lookalike rate link` a rater's personal link.
    """
    if context.invoked_subcommand is not None:
        return
    if not registry or not channel:
        missing = "--channel" if registry else "--registry"
        raise click.UsageError(f"Missing option '{missing}'.", context)
    from serving.rating.links import load_secrets  # noqa: PLC0415
    from serving.rating.main import Settings, serve  # noqa: PLC0415 - loads the web server

    settings = Settings(
        registry=registry,
        channel=channel,
        campaign=campaign,
        host=host,
        port=port,
        url=url,
        ready_file=ready_file,
        lease_minutes=lease_minutes,
        break_minutes=break_minutes,
    )
    sys.exit(serve(settings, load_secrets(key_file)))


@rate.command()
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to make; it must not exist.",
)
def key(out: Path) -> None:
    """Make the secret that personal links are signed with.

    Whoever has it can make links and sign in as anybody: keep it as secret as a password. To
    replace it, put a new one on the first line of the file and keep the old one on the second
    until the links made with it have expired.
    """
    from serving.rating.links import new_key  # noqa: PLC0415

    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputError(f"{out}: is there already; a key is never overwritten") from None
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}") from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(new_key() + "\n")
    click.echo(f"{out}: written; only you can read it")


@rate.command()
@click.option("--channel", required=True, help="Channel that the link is for.")
@click.option("--campaign", default="", help="One campaign; else whichever runs in the channel.")
@click.option("--rater", "raters", multiple=True, help="Who rates; may be given several times.")
@click.option("--owner", "owners", multiple=True, help="Who sees and steers the campaign.")
@click.option("--expires", default="72h", show_default=True, help="Time such as 90m, 72h or 14d.")
@click.option(
    "--url",
    default="http://127.0.0.1:8080",
    show_default=True,
    help="Where people reach the application.",
)
@_KEY_FILE
def link(
    channel: str,
    campaign: str,
    raters: tuple[str, ...],
    owners: tuple[str, ...],
    expires: str,
    url: str,
    key_file: Path | None,
) -> None:
    """Make signed personal links, one a line: name, tab, link.

    A link signs in whoever opens it, as that person, until it expires: send each to its person
    alone. Ban a rater on the owner's page to end a link early.

    Example: lookalike rate link --channel prod --rater ann --rater bob --expires 72h
    """
    from components.registry.channel import check_channel  # noqa: PLC0415
    from serving.rating.links import (  # noqa: PLC0415
        OWNER,
        RATER,
        Pass,
        check_name,
        check_url,
        load_secrets,
        parse_duration,
    )

    if not raters and not owners:
        raise click.UsageError("Expected at least one --rater or --owner.")
    check_channel(channel)
    until = time.time() + parse_duration(expires)
    keys = load_secrets(key_file)
    base = check_url(url)
    people = [(RATER, name) for name in raters] + [(OWNER, name) for name in owners]
    for role, name in people:
        token = Pass(role, check_name(name), channel, campaign, until).token(keys)
        click.echo(f"{name}\t{base}/join?key={token}")
