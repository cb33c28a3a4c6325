"""The interface of the human_eval step."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Markdown, Output

from components.contracts.container_images import OPS


@dsl.component(base_image=OPS, install_kfp_package=False, packages_to_install=[])
def human_eval(
    checked: Input[Dataset],
    evaluation: Input[Artifact],
    registry: str,
    channel: str,
    version: str,
    digest: str,
    incumbent: str,
    offline: str,
    raters: str,
    judgement: Output[Artifact],
    verdict: Output[Markdown],
    report: Output[HTML],
    policy: str = "production",
    tau: float = 0.8,
    floor: float = 0.7,
    after_failed_evaluation: str = "skip",
    wait_minutes: float = 0.0,
    seed: int = 20211,
) -> str:
    """Lets people judge the candidate's answers and decides with stated error guarantees.

    Pairs of query and result are sampled in an order fixed before rating starts; raters are
    checked against hidden golds and against each other; the decision is valid however often one
    looks. Without enough evidence the verdict is undecided, and undecided does not promote.

    Args:
        checked: The checked catalog.
        evaluation: The answers of candidate and incumbent.
        registry: Registry that keeps the campaign and gets the verdict.
        channel: Channel that the candidate is judged for.
        version: The candidate.
        digest: SHA-256 of the candidate's manifest.
        incumbent: The live version, or none.
        offline: What the evaluate step returned.
        raters: web, none, or simulated (for demos: they know the taxonomy).
        judgement: Verdict, ratings and figures.
        verdict: The verdict for people.
        report: The decision and why, bounds, rater quality, results as pictures.
        policy: production, or demo: a few hundred photos, every result rated.
        tau: Share of similar results that the candidate must exceed, 0 to 1.
        floor: The same for every guarded department, 0 to 1.
        after_failed_evaluation: skip spends no rater's time on a candidate that failed evaluate;
            ask judges it all the same.
        wait_minutes: How long to wait for raters before the run ends undecided, in minutes; running
            again, or the release pipeline, goes on where the raters stand.
        seed: Seed of the recorded order and of simulated raters.
    """
    from components.human_eval.step import run

    return run(
        checked.path, evaluation.path, registry, channel, version, digest, incumbent, offline,
        raters, judgement.path, verdict.path, report.path, policy=policy, tau=tau, floor=floor,
        after_failed_evaluation=after_failed_evaluation, wait_minutes=wait_minutes, seed=seed,
    )  # fmt: skip
