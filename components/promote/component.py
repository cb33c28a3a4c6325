"""The interface of the promote step."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Markdown, Output

from components.contracts.container_images import OPS


@dsl.component(base_image=OPS, install_kfp_package=False, packages_to_install=[])
def promote(
    registry: str,
    channel: str,
    version: str,
    incumbent: str,
    offline: str,
    human: str,
    run: str,
    promotion: Output[Artifact],
    summary: Output[Markdown],
    report: Output[HTML],
    reason: str = "pipeline run",
) -> str:
    """Moves the channel to the candidate, or refuses and says why.

    The step reads the verdicts from the registry and checks them itself; what the gates returned
    is only shown beside it.

    Args:
        registry: Registry that holds bundle, verdicts and channel.
        channel: Channel to move.
        version: The candidate.
        incumbent: What the candidate was compared with; the channel must still point there.
        offline: What the evaluate step returned.
        human: What the human_eval step returned.
        run: This run's id.
        promotion: The outcome as JSON.
        summary: The outcome for people.
        report: What moved: items, types, encoder and index before and after; both verdicts.
        reason: Why, for the channel's history.
    """
    from components.promote.step import run as promote_step

    return promote_step(
        registry, channel, version, incumbent, offline, human, run,
        promotion.path, summary.path, report.path, reason=reason,
    )  # fmt: skip
