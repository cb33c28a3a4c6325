"""Options that the `lookalike eval` commands share, and how they name a campaign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from components.human_eval.campaign import Campaign, campaign_of, open_campaign
from components.registry.channel import check_channel
from components.registry.registry import Registry
from pipelines.cli.index_options import complete_versions

Command = TypeVar("Command", bound=Callable[..., Any])


def with_campaign(command: Command) -> Command:
    """Adds `--campaign` and `--version`: which campaign; the running one without them."""
    command = click.option(
        "--version",
        default="",
        metavar="VERSION",
        help="The campaign about this candidate.",
        shell_complete=complete_versions,
    )(command)
    return click.option(
        "--campaign",
        default="",
        metavar="ID",
        help="This campaign; without it, the one that raters are at.",
    )(command)


def chosen_campaign(registry: str, channel: str, campaign: str, version: str) -> Campaign:
    """Returns the campaign that the options name.

    Raises:
        NoCampaignError: There is none.
    """
    store = Registry.open(registry).store
    check_channel(channel)
    return open_campaign(store, channel, campaign or campaign_of(store, channel, version))
