"""From the pipeline's parameters and artifacts to the gate."""

from __future__ import annotations

import datetime
from pathlib import Path

from components.contracts import incumbent as incumbents
from components.contracts import page
from components.contracts.errors import InputError
from components.contracts.files import write_atomically, write_json
from components.contracts.verdict import Check, Verdict, to_html, to_markdown
from components.human_eval.campaign_files import campaign_folder
from components.human_eval.config import GateConfig
from components.human_eval.judge import judge_candidate
from components.registry.registry import Registry

WRITER = "human_eval"


def run(
    checked: str,
    evaluation: str,
    registry: str,
    channel: str,
    version: str,
    digest: str,
    incumbent: str,
    offline: str,
    raters: str,
    judgement: str,
    verdict: str,
    report: str,
    *,
    policy: str,
    tau: float,
    floor: float,
    after_failed_evaluation: str,
    seed: int,
) -> str:
    """Judges the candidate and writes the verdict to the registry.

    Returns:
        `pass`, `fail`, `undecided` or `expired`.
    """
    config = _config(policy, tau, floor, seed)
    if after_failed_evaluation not in ("skip", "ask"):
        raise InputError(
            "human_eval.after_failed_evaluation: expected skip or ask, received "
            f"{after_failed_evaluation!r}"
        )
    bundles = Registry.open(registry)
    incumbent = incumbents.version_of(incumbent)
    output = Path(judgement)
    if offline != "pass" and after_failed_evaluation == "skip":
        outcome = _not_asked(version, digest, incumbent, offline)
        write_json(output / "verdict.json", outcome.to_json())
        write_atomically(Path(report), page.page("Human evaluation", to_html(outcome)))
    else:
        with campaign_folder(registry, channel) as campaign:
            outcome = judge_candidate(
                evaluation=Path(evaluation),
                checked=Path(checked),
                version=version,
                manifest_digest=digest,
                incumbent=incumbent,
                incumbent_digest=bundles.manifest(incumbent)[1] if incumbent else "",
                raters=raters,
                campaign=campaign,
                campaign_uri=f"{registry}/campaigns/{channel}",
                config=config,
                output=output,
                report=Path(report),
            )
    bundles.write_verdict(outcome)
    write_atomically(Path(verdict), to_markdown(outcome))
    return outcome.status


def _config(policy: str, tau: float, floor: float, seed: int) -> GateConfig:
    if policy == "demo":
        return GateConfig.demo(tau=tau, floor=floor, seed=seed)
    if policy == "production":
        return GateConfig(tau=tau, floor=floor, seed=seed)
    raise InputError(f"human_eval.policy: expected production or demo, received {policy!r}")


def _not_asked(version: str, digest: str, incumbent: str, offline: str) -> Verdict:
    check = Check(
        name="offline_verdict",
        status="undecided",
        reason=f"no rater was asked, because the offline verdict is {offline}",
        requirement="offline verdict pass",
    )
    return Verdict(
        gate="human",
        status="undecided",
        version=version,
        manifest_digest=digest,
        incumbent=incumbent,
        checks=(check,),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        writer=WRITER,
    )


def judge(
    registry: str,
    channel: str,
    version: str,
    judgement: str,
    verdict: str,
    report: str,
    *,
    wait_minutes: float,
) -> tuple[str, str, str, str]:
    """Judges the campaign of a candidate that was published before, from the registry alone.

    Returns:
        The status, the version, the incumbent as pipelines name it (`none` for none), and what the
        newest offline verdict on the version says (`none` without one).
    """
    raise InputError("human_eval: judging a published campaign is not built yet")
