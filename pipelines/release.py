"""The release pipeline: judges a candidate whose ratings arrived later, and promotes it."""

from kfp import dsl

from components.human_eval.judge_component import judge
from components.outcome.component import notify
from pipelines.after_gates import RUN, promote_if_passed
from pipelines.tasks import configure_tasks


@dsl.pipeline(
    name="release",
    display_name="Release",
    description="Judges a candidate whose raters have rated since it was built, and promotes it "
    "when both gates pass. Nothing is computed again.",
)
def release(
    registry: str,
    channel: str = "demo",
    version: str = "",
    judge_wait_minutes: float = 0.0,
    promote_reason: str = "release run",
    notify_webhook_secret: str = "",
) -> None:
    """Judges and promotes a candidate that visual-search left undecided.

    1. judge reads the campaign and its ratings from the registry and gives the human verdict.
    2. gates says in one word what both gates came to.
    3. promote moves the channel; or refused, or undecided, says why not.
    4. notify tells of the outcome, also when a step failed.

    Args:
        registry: Registry: a folder that every step can reach, or gs://bucket/prefix.
        channel: Channel to promote on: letters, digits, hyphens.
        version: The candidate; empty for the one that the channel's raters are at.
        judge_wait_minutes: How long to wait for raters before saying undecided, in minutes.
        promote_reason: Why, for the channel's history.
        notify_webhook_secret: Secret Manager resource with the webhook's address,
            projects/P/secrets/S; empty for what the environment says.
    """
    told = notify(
        registry=registry,
        channel=channel,
        run=RUN,
        pipeline="release",
        webhook_secret=notify_webhook_secret,
    )
    with dsl.ExitHandler(told, name="Judge and promote"):
        judged = judge(
            registry=registry, channel=channel, version=version, wait_minutes=judge_wait_minutes
        )
        promote_if_passed(
            registry=registry,
            channel=channel,
            version=judged.outputs["version"],
            incumbent=judged.outputs["incumbent"],
            offline=judged.outputs["offline"],
            human=judged.outputs["status"],
            reason=promote_reason,
        )
    configure_tasks()
