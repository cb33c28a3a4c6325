"""`lookalike`: the command line over pipelines, components and serving.

Each command is imported when it is asked for: the engineer on call does not wait for TensorFlow.
"""

from __future__ import annotations

import sys

import click

from components.contracts.errors import LookalikeError
from pipelines.cli.lazy_group import LazyGroup

_COMMANDS = {
    "run": "pipelines.cli.run_command:run",
    "delta": "pipelines.cli.delta_command:delta",
    "compile": "pipelines.cli.compile_command:compile_",
    "upload": "pipelines.cli.remote_commands:upload",
    "submit": "pipelines.cli.remote_commands:submit",
    "schedule": "pipelines.cli.remote_commands:schedule",
    "parameters": "pipelines.cli.parameters_command:parameters",
    "serve": "pipelines.cli.serve_command:serve",
    "traffic": "pipelines.cli.traffic_command:traffic",
    "eval": "pipelines.cli.eval_commands:eval_",
    "rate": "pipelines.cli.rate_command:rate",
    "ask": "pipelines.cli.ask_command:ask",
    "index": "pipelines.cli.index_commands:index",
    "export-vertex": "pipelines.cli.export_vertex_command:export_vertex",
    "benchmark": "pipelines.cli.benchmark_command:benchmark",
    "taxonomy": "pipelines.cli.taxonomy_commands:taxonomy",
    "dataset": "pipelines.cli.dataset_commands:dataset",
}


@click.group(
    cls=LazyGroup,
    commands_in=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="lookalike")
def cli() -> None:
    """Visually similar items and search by photo over a shop's catalog.

    Start here: lookalike run --help
    """


def main() -> None:
    """Runs the command line; an error meant for people ends it with one message, no traceback."""
    try:
        # With standalone_mode off, click hands ctx.exit's code back instead of raising it.
        code = cli(standalone_mode=False)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.Abort:
        click.echo("stopped; finished steps are kept: run the same command to go on", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except LookalikeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; nothing is wrong.
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
