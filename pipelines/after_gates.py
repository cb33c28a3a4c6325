"""What both pipelines do when the gates have spoken: one of three branches in the UI."""

from __future__ import annotations

from typing import Any

from kfp import dsl

from components.outcome.component import gates, refused, undecided
from components.promote.component import promote

RUN = dsl.PIPELINE_JOB_ID_PLACEHOLDER
"""This run's id, which the backend puts in."""


def promote_if_passed(
    *,
    registry: Any,
    channel: Any,
    version: Any,
    incumbent: Any,
    offline: Any,
    human: Any,
    reason: Any,
) -> None:
    """Wires the tasks after the gates; the arguments are channels of the pipeline being defined.

    The condition compares one short word that a component chose from three. It only decides what
    the graph shows: promote reads the verdicts from the registry and checks them itself.
    """
    said = gates(
        registry=registry,
        version=version,
        incumbent=incumbent,
        offline=offline,
        human=human,
        run=RUN,
    )
    with dsl.If(said.outputs["Output"] == "passed", name="Gates passed"):
        promote(
            registry=registry,
            channel=channel,
            version=version,
            incumbent=incumbent,
            offline=offline,
            human=human,
            run=RUN,
            reason=reason,
        )
    with dsl.Elif(said.outputs["Output"] == "refused", name="Gates refused"):
        refused(registry=registry, channel=channel, run=RUN)
    with dsl.Else(name="Undecided"):
        undecided(registry=registry, channel=channel, run=RUN)
