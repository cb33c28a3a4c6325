"""`lookalike index`: what is live, and how to change it. Loads no TensorFlow, no numpy."""

from __future__ import annotations

import click

from pipelines.cli.index_diff import diff
from pipelines.cli.index_history import history
from pipelines.cli.index_moves import freeze, promote, quarantine, release, rollback, unfreeze
from pipelines.cli.index_status import status
from pipelines.cli.index_upkeep import export, gc, import_, policy
from pipelines.cli.index_versions import list_, show, verify


class _InOrder(click.Group):
    """A group whose help lists the commands as they were added: the urgent ones first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names in order."""
        del ctx
        return list(self.commands)


@click.group(
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="At 3 a.m.: `lookalike index status`, then `lookalike index rollback --reason ...`. "
    "The runbook is docs/runbook.md.",
)
def index() -> None:
    """See what is live, promote, roll back."""


_COMMANDS: tuple[click.Command, ...] = (
    *(status, rollback, freeze, unfreeze, promote, list_, show, history, diff, verify),
    *(quarantine, release, policy, gc, export, import_),
)
for _command in _COMMANDS:
    index.add_command(_command)
