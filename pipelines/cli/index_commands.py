"""`lookalike index`: what is live, and how to change it. Loads no TensorFlow, no numpy."""

from __future__ import annotations

import importlib

import click

# The urgent ones first; each is imported when it is asked for.
_COMMANDS = {
    "status": "index_status:status",
    "rollback": "index_moves:rollback",
    "freeze": "index_moves:freeze",
    "unfreeze": "index_moves:unfreeze",
    "promote": "index_moves:promote",
    "list": "index_versions:list_",
    "show": "index_versions:show",
    "history": "index_history:history",
    "diff": "index_diff:diff",
    "verify": "index_versions:verify",
    "quarantine": "index_moves:quarantine",
    "release": "index_moves:release",
    "policy": "index_upkeep:policy",
    "gc": "index_upkeep:gc",
    "export": "index_upkeep:export",
    "import": "index_upkeep:import_",
}


class _Commands(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names in the order in which people need them."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns a command; None when there is none of that name."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(
            importlib.import_module(f"pipelines.cli.{module}"), attribute
        )
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="At 3 a.m.: `lookalike index status`, then `lookalike index rollback --reason ...`. "
    "The runbook is docs/runbook.md.",
)
def index() -> None:
    """See what is live, promote, roll back."""
