"""`lookalike parameters`: what can be set, with types, defaults and descriptions."""

from __future__ import annotations

import textwrap

import click

from pipelines.compiled import FILES, settable
from pipelines.local.ir import read_pipeline


@click.command()
@click.argument("word", default="")
@click.option(
    "--pipeline",
    type=click.Choice(list(FILES)),
    default="visual-search",
    show_default=True,
    help="Which pipeline's.",
)
def parameters(word: str, pipeline: str) -> None:
    """List the parameters that --set and --config take; with WORD, those whose line has it.

    Example: lookalike parameters train
    """
    for dotted, parameter in settable(read_pipeline(FILES[pipeline])).items():
        head = f"{dotted} = {parameter.default!r}  ({parameter.type.__name__})"
        if word.lower() in f"{head} {parameter.description}".lower():
            click.echo(head)
            click.echo(textwrap.indent(textwrap.fill(parameter.description, 92), "    "))
