"""A group of commands that are imported when they are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """A click group over `name: "module:attribute"`, in the order that people need."""

    def __init__(self, *arguments: Any, commands_in: Mapping[str, str], **settings: Any) -> None:
        """Remembers where the commands lie; everything else is click's.

        Args:
            *arguments: See `click.Group`.
            commands_in: Where each command lies, such as `pipelines.cli.run_command:run`.
            **settings: See `click.Group`.
        """
        super().__init__(*arguments, **settings)
        self._commands_in = commands_in

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names in the given order."""
        del ctx
        return list(self._commands_in)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns a command; None when there is none of that name."""
        del ctx
        if cmd_name not in self._commands_in:
            return None
        module, attribute = self._commands_in[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command
