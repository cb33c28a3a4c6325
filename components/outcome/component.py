"""The interfaces of what comes after the gates: the branch's word, its note, the notification."""

from kfp import dsl
from kfp.dsl import Markdown, Output, PipelineTaskFinalStatus

from components.contracts.container_images import OPS


@dsl.component(base_image=OPS, install_kfp_package=False, packages_to_install=[])
def gates(
    registry: str,
    version: str,
    incumbent: str,
    offline: str,
    human: str,
    run: str,
    note: Output[Markdown],
) -> str:
    """Says in one word what both gates together came to: passed, refused or undecided.

    The word only chooses the branch that the graph shows. Promote reads the verdicts itself.

    Args:
        registry: Registry that holds the verdicts.
        version: The candidate.
        incumbent: What it was compared with, or none.
        offline: What the evaluate step returned.
        human: What the human gate returned.
        run: This run's id.
        note: Both verdicts in full.
    """
    from components.outcome.step import gates as settle

    return settle(registry, version, incumbent, offline, human, run, note.path)


@dsl.component(base_image=OPS, install_kfp_package=False, packages_to_install=[])
def refused(registry: str, channel: str, run: str, note: Output[Markdown]) -> None:
    """Says why the candidate was refused and what shoppers see instead.

    Args:
        registry: Registry that holds the verdicts.
        channel: Channel that stays as it is.
        run: This run's id.
        note: The reasons, what is live, where to look.
    """
    from components.outcome.step import hold_back

    hold_back(registry, channel, run, note.path, undecided=False)


@dsl.component(base_image=OPS, install_kfp_package=False, packages_to_install=[])
def undecided(registry: str, channel: str, run: str, note: Output[Markdown]) -> None:
    """Says what the human gate still misses and how to go on when it has come.

    Args:
        registry: Registry that holds the verdicts.
        channel: Channel that stays as it is.
        run: This run's id.
        note: What is missing, and the command that judges the same candidate later.
    """
    from components.outcome.step import hold_back

    hold_back(registry, channel, run, note.path, undecided=True)


@dsl.component(base_image=OPS, install_kfp_package=False, packages_to_install=[])
def notify(
    registry: str,
    channel: str,
    run: str,
    pipeline: str,
    webhook_secret: str,
    status: PipelineTaskFinalStatus,
    note: Output[Markdown],
) -> None:
    """Sends one notification with the run's outcome and the reasons, however the run ended.

    It goes to the webhook in LOOKALIKE_WEBHOOK_URL, signed when there is a key, or to the one that
    a secret names. A webhook that does not answer fails nothing.

    Args:
        registry: Registry that holds the run's record and the channel.
        channel: The channel.
        run: This run's id.
        pipeline: The pipeline's name.
        webhook_secret: Secret Manager resource with the webhook; empty for the environment.
        status: How the steps ended, from the backend.
        note: The outcome and the reasons.
    """
    from components.outcome.step import notify as tell

    tell(
        registry, channel, run, pipeline, webhook_secret, status.state or "",
        status.error_message or "", note.path,
    )  # fmt: skip
