"""`lookalike index`: what is live, and how to change it. Loads no TensorFlow, no numpy."""

from __future__ import annotations

import click

from pipelines.cli.lazy_group import LazyGroup

# The urgent ones first; each is imported when it is asked for.
_COMMANDS = {
    "status": "pipelines.cli.index_status:status",
    "rollback": "pipelines.cli.index_moves:rollback",
    "freeze": "pipelines.cli.index_moves:freeze",
    "unfreeze": "pipelines.cli.index_moves:unfreeze",
    "promote": "pipelines.cli.index_moves:promote",
    "list": "pipelines.cli.index_versions:list_",
    "show": "pipelines.cli.index_versions:show",
    "history": "pipelines.cli.index_history:history",
    "diff": "pipelines.cli.index_diff:diff",
    "verify": "pipelines.cli.index_versions:verify",
    "quarantine": "pipelines.cli.index_moves:quarantine",
    "release": "pipelines.cli.index_moves:release",
    "policy": "pipelines.cli.index_upkeep:policy",
    "gc": "pipelines.cli.index_upkeep:gc",
    "export": "pipelines.cli.index_upkeep:export",
    "import": "pipelines.cli.index_upkeep:import_",
}


@click.group(
    cls=LazyGroup,
    commands_in=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="At 3 a.m.: `lookalike index status`, then `lookalike index rollback --reason ...`. "
    "The runbook is docs/runbook.md.",
)
def index() -> None:
    """See what is live, promote, roll back."""
