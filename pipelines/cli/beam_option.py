"""`--beam-option`, which `run`, `submit` and `schedule` share."""

from __future__ import annotations

import click

beam_option = click.option(
    "--beam-option",
    "beam_options",
    multiple=True,
    metavar="--NAME=VALUE",
    help="Option for Apache Beam in transform and embed, such as --runner=FlinkRunner; several "
    "times. --set transform.beam_options=... differs for one step.",
)
