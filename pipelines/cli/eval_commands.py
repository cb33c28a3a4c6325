"""`lookalike eval`: what raters are at, and what they say of a candidate."""

from __future__ import annotations

import click

from pipelines.cli.lazy_group import LazyGroup

_COMMANDS = {
    "status": "pipelines.cli.eval_judge:status",
    "judge": "pipelines.cli.eval_judge:judge",
    "plan": "pipelines.cli.eval_plan:plan",
    "publish": "pipelines.cli.eval_plan:publish",
    "expire": "pipelines.cli.eval_judge:expire",
    "import": "pipelines.cli.eval_exchange:import_",
    "export": "pipelines.cli.eval_exchange:export",
}


@click.group(
    cls=LazyGroup,
    name="eval",
    commands_in=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="A pipeline run plans and publishes by itself. By hand: `lookalike eval plan`, look at "
    "it, `lookalike eval publish`, `lookalike rate` for the raters, `lookalike eval judge`.",
)
def eval_() -> None:
    """Let people judge a candidate: plan, publish, follow, judge."""
