"""From the pipeline's parameters and artifacts to the gate, and from the gate to the raters.

The step publishes the candidate's campaign and says what its raters have said so far. It may wait
for them, bounded; `undecided` ends the run cleanly with the commands for raters, and the same run
again, or the release pipeline, goes on where the campaign stands.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from components.contracts import incumbent as incumbents
from components.contracts import page
from components.contracts.errors import InputError
from components.contracts.files import write_atomically, write_json
from components.contracts.progress import Progress
from components.contracts.verdict import Check, Verdict, to_html, to_markdown
from components.human_eval.ask import Material, draw, let_simulated_raters_rate
from components.human_eval.campaign import (
    Campaign,
    campaign_of,
    open_campaign,
    passed_as_candidate,
)
from components.human_eval.conclude import judge_campaign
from components.human_eval.config import GateConfig
from components.human_eval.judge import GATE, WRITER
from components.human_eval.output import waiting_notes, write_findings
from components.human_eval.pairs import Binding
from components.human_eval.publish import Published, publish, resumable
from components.human_eval.rating_log import RatingLog
from components.human_eval.report import Findings
from components.registry.registry import Registry

RATERS = ("simulated", "web", "none")
WHO = "pipeline"
_FIRST_POLL_S = 5.0
_LAST_POLL_S = 60.0


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
    wait_minutes: float,
    seed: int,
) -> str:
    """Judges the candidate and writes the verdict to the registry.

    Returns:
        `pass`, `fail`, `undecided` or `expired`.
    """
    config = gate_config(policy, tau=tau, floor=floor, seed=seed)
    if after_failed_evaluation not in ("skip", "ask"):
        raise InputError(
            "human_eval.after_failed_evaluation: expected skip or ask, received "
            f"{after_failed_evaluation!r}"
        )
    _check_wait(wait_minutes)
    if raters not in RATERS:
        raise InputError(f"raters: expected one of {', '.join(RATERS)}, received {raters!r}")
    bundles = Registry.open(registry)
    before = incumbents.version_of(incumbent)
    binding = Binding(version, digest, before, bundles.manifest(before)[1] if before else "")
    if reason := _not_asked(offline, raters, after_failed_evaluation):
        return _without_raters(reason, binding, config, bundles, judgement, verdict, report)
    material = Material(Path(evaluation), Path(checked))
    published = ask_raters(bundles, channel, binding, material, config, raters=raters, who=WHO)
    campaign = open_campaign(bundles.store, channel, published.campaign)
    if raters == "simulated":
        let_simulated_raters_rate(
            campaign, material, now=datetime.now(UTC), problems=published.problems
        )
        wait_minutes = 0.0
    return _judged(
        bundles, channel, published.campaign, judgement, verdict, report,
        wait_minutes=wait_minutes, problems=published.problems,
    )  # fmt: skip


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
    _check_wait(wait_minutes)
    bundles = Registry.open(registry)
    campaign = campaign_of(bundles.store, channel, version)
    status = _judged(
        bundles, channel, campaign, judgement, verdict, report, wait_minutes=wait_minutes
    )
    plan = open_campaign(bundles.store, channel, campaign).plan
    said = [entry for entry in bundles.verdicts(plan.version) if entry.gate == "offline"]
    return (
        status,
        plan.version,
        plan.incumbent or incumbents.NONE,
        said[-1].status if said else "none",
    )


def gate_config(policy: str, *, tau: float, floor: float, seed: int) -> GateConfig:
    """Returns the policy that the pipeline's parameters name.

    Raises:
        InputError: There is no such policy, or a threshold cannot be one.
    """
    if policy == "demo":
        return GateConfig.demo(tau=tau, floor=floor, seed=seed)
    if policy == "production":
        return GateConfig(tau=tau, floor=floor, seed=seed)
    raise InputError(f"human_eval.policy: expected production or demo, received {policy!r}")


def ask_raters(
    bundles: Registry,
    channel: str,
    binding: Binding,
    material: Material,
    config: GateConfig,
    *,
    raters: str,
    who: str,
) -> Published:
    """Publishes the candidate's campaign, or finds the one that it has.

    A newer candidate supersedes the running campaign of an older one: it says so in its state.
    """
    store = bundles.store
    # A candidate that is live already: what counts is the campaign that it passed before.
    if binding.manifest_digest == binding.incumbent_digest and (
        earlier := passed_as_candidate(store, channel, binding.manifest_digest)
    ):
        return Published(earlier, resumed=True)
    if found := resumable(store, channel, binding, config):
        return found
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as scratch:
        draft = draw(
            store, channel, binding, material, config,
            folder=Path(scratch) / "draft", raters=raters, now=now,
            retrained=was_retrained(bundles, binding),
        )  # fmt: skip
        with Progress("publishing the campaign", unit="files") as shown:
            return publish(
                store,
                channel,
                draft,
                now=datetime.now(UTC),
                who=who,
                supersede=True,
                progress=lambda _done, _of: shown.advance(),
            )


def was_retrained(bundles: Registry, binding: Binding) -> bool:
    """Whether the encoder was trained from scratch: results change all over, by chance as well."""
    return bundles.has(binding.version) and bundles.manifest(binding.version)[0].mode == "scratch"


def _judged(
    bundles: Registry,
    channel: str,
    campaign: str,
    judgement: str,
    verdict: str,
    report: str,
    *,
    wait_minutes: float,
    problems: Sequence[str] = (),
) -> str:
    findings = wait_for_raters(
        lambda: open_campaign(bundles.store, channel, campaign),
        lambda opened: judge_campaign(opened, now=datetime.now(UTC), who=WHO, problems=problems),
        minutes=wait_minutes,
    )
    outcome = replace(
        findings.verdict,
        notes=(*waiting_notes(findings, bundles.uri), *findings.verdict.notes),
    )
    bundles.write_verdict(outcome)
    write_findings(replace(findings, verdict=outcome), Path(judgement), Path(report))
    write_atomically(Path(verdict), to_markdown(outcome))
    return outcome.status


def wait_for_raters(
    reopen: Callable[[], Campaign],
    look: Callable[[Campaign], Findings],
    *,
    minutes: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Findings:
    """Looks at a campaign until it is decided or the time is over.

    A poll lists the campaign's new ratings, nothing more; everything is judged anew only when there
    are some. Killed and started again, it goes on: all that it knows is in the registry.

    Args:
        reopen: Opens the campaign.
        look: Judges it.
        minutes: How long to wait at most.
        sleep: What waits; tests pass their own.
        clock: Seconds that never go back.
    """
    start = clock()
    opened = reopen()
    log = RatingLog(opened.store, opened.prefix)
    log.follow()
    findings = look(opened)
    pause = _FIRST_POLL_S
    while findings.verdict.status == "undecided":
        left = minutes * 60.0 - (clock() - start)
        if left <= 0:
            break
        sleep(min(pause, left))
        if log.follow():
            pause = _FIRST_POLL_S
        else:
            pause = min(pause * 1.5, _LAST_POLL_S)
            # A deadline passes, an owner closes or bans, without a rating.
            if pause < _LAST_POLL_S:
                continue
        findings = look(reopen())
    return findings


def _check_wait(minutes: float) -> None:
    if not 0.0 <= minutes <= 7 * 24 * 60:
        raise InputError(
            f"human_eval.wait_minutes: expected 0 to 10080 (a week), received {minutes!r}"
        )


def _not_asked(offline: str, raters: str, after_failed_evaluation: str) -> tuple[str, str] | None:
    """Returns why no rater is asked: the check's name and the reason; None when they are."""
    if offline != "pass" and after_failed_evaluation == "skip":
        return "offline_verdict", f"no rater was asked, because the offline verdict is {offline}"
    if raters == "none":
        return (
            "ratings",
            "human evaluation is switched off (raters=none): no ratings were asked for",
        )
    return None


def _without_raters(
    reason: tuple[str, str],
    binding: Binding,
    config: GateConfig,
    bundles: Registry,
    judgement: str,
    verdict: str,
    report: str,
) -> str:
    outcome = Verdict(
        gate=GATE,
        status="undecided",
        version=binding.version,
        manifest_digest=binding.manifest_digest,
        incumbent=binding.incumbent,
        checks=(Check(reason[0], "undecided", reason[1]),),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        writer=WRITER,
        parameters=config.to_json(),
    )
    bundles.write_verdict(outcome)
    write_json(Path(judgement) / "summary.json", {"ratings": 0, "status": outcome.status})
    write_atomically(
        Path(report), page.page(f"Human evaluation of {outcome.version}", to_html(outcome))
    )
    write_atomically(Path(verdict), to_markdown(outcome))
    write_json(Path(judgement) / "verdict.json", outcome.to_json())
    return outcome.status
