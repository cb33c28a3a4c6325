"""The interface of the judge step: looks at a campaign that was published before."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Artifact, Markdown, Output

from components.contracts.container_images import OPS


@dsl.component(base_image=OPS, install_kfp_package=False, packages_to_install=[])
def judge(
    registry: str,
    channel: str,
    judgement: Output[Artifact],
    verdict: Output[Markdown],
    report: Output[HTML],
    version: str = "",
    wait_minutes: float = 0.0,
) -> NamedTuple(  # type: ignore[valid-type]
    "Outputs", [("status", str), ("version", str), ("incumbent", str), ("offline", str)]
):
    """Judges a candidate whose raters have rated since its campaign was published.

    Everything is read from the registry: the recorded plan, the policy in force when it was
    recorded, and the ratings. The same files give the same verdict anywhere.

    Args:
        registry: Registry that keeps the campaign and gets the verdict.
        channel: Channel that the candidate is judged for.
        judgement: Verdict, ratings and figures.
        verdict: The verdict for people.
        report: The decision and why, bounds, rater quality, results as pictures.
        version: The candidate; empty for the one that the channel's raters are at.
        wait_minutes: How long to wait for raters before saying undecided, in minutes.
    """
    from components.human_eval.step import judge as judge_campaign

    return judge_campaign(
        registry, channel, version, judgement.path, verdict.path, report.path,
        wait_minutes=wait_minutes,
    )  # fmt: skip
