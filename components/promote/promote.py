"""Moves a channel to a bundle whose verdicts allow it, or refuses and says why.

Whatever the pipeline thought before, the gate is here: the verdicts, the bundle's bytes and the
channel's policy are read again, and all that cannot be read, is missing or is about another
bundle counts against the promotion.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from components.contracts.bundle import Manifest
from components.contracts.errors import LookalikeError
from components.promote import inheritance
from components.registry import campaigns, publish
from components.registry.channel import ChannelState, Move, check_channel, check_text
from components.registry.policy import Policy
from components.registry.registry import ConflictError, RefusedError, Registry
from components.registry.verdict_log import Stored

Outcome = Literal["promoted", "refused", "unchanged"]

_DAY_S = 86400.0
# Writers' clocks may run ahead of ours by this much before we take a time for nonsense.
_CLOCK_SKEW_S = 600.0


@dataclass(frozen=True)
class PromotionOutcome:
    """What became of a promotion.

    Attributes:
        outcome: `promoted`, `refused` or `unchanged` (it was live already).
        reasons: Why it was refused, what was overridden by force, or what there is to know; one
            sentence each.
        version: The version to promote.
        previous: The version live before; empty for none.
        dry_run: Whether `promoted` only means that it would have been.
        move: The entry in the channel's history, when the channel was moved.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    version: str
    previous: str
    dry_run: bool = False
    move: Move | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "outcome": self.outcome,
            "reasons": list(self.reasons),
            "version": self.version,
            "previous": self.previous,
            "dry_run": self.dry_run,
            "move": None if self.move is None else self.move.to_json(),
        }


def promote_candidate(  # noqa: PLR0911
    *,
    registry: str,
    channel: str,
    version: str,
    expected_incumbent: str | None,
    who: str,
    why: str,
    force: bool = False,
    dry_run: bool = False,
) -> PromotionOutcome:
    """Promotes a version if its verdicts, its bytes and the channel's policy allow it.

    Args:
        registry: A local path, `file:///path`, or `gs://bucket/prefix`.
        channel: The channel to move.
        version: The version to be live.
        expected_incumbent: What the version was compared with, empty for nothing; anything else
            being live refuses. None takes what is live now.
        who: The person or pipeline.
        why: The reason in words, for the channel's history.
        force: Whether a person overrides verdicts, policy and freeze. Never overrides the
            integrity of the bundle or a quarantine; is recorded.
        dry_run: Whether to only say what would happen.

    Returns:
        What became of it. A refusal is an outcome, not an error.

    Raises:
        InputError: A name or the reason cannot be one, or there is no such version.
        LookalikeError: The registry cannot be read or written.
    """
    check_channel(channel)
    check_text("who", who, limit=200)
    check_text("reason", why)
    opened = Registry.open(registry)
    manifest, digest = opened.manifest(version)
    state = opened.channel(channel)
    if state.live == version:
        return PromotionOutcome("unchanged", (_since(state),), version, version)
    if expected_incumbent is not None and state.live != expected_incumbent:
        reason = (
            f"{version} was compared with {expected_incumbent or 'nothing'}, but "
            f"{state.live or 'nothing'} is live now: {_since(state)}"
        )
        return PromotionOutcome("refused", (reason,), version, state.live)

    fatal = list(_fatal(opened, state, manifest))
    stored = opened.stored_verdicts(version)
    overridable = list(_overridable(opened, state, manifest, digest, stored))
    if fatal or (overridable and not force):
        return PromotionOutcome("refused", (*fatal, *overridable), version, state.live, dry_run)
    told, inherited = inheritance.inherited(opened, manifest, stored, overridable)
    notes = tuple(f"overridden by force: {reason}" for reason in overridable)
    notes += (told,) if told else ()
    if dry_run:
        return PromotionOutcome("promoted", notes, version, state.live, dry_run=True)
    try:
        move = opened.move(
            channel,
            to=version,
            expected_from=state.live,
            kind="promote",
            who=who,
            why=why,
            verdicts=[*(entry.key for entry in stored if entry.readable), *inherited],
            forced=bool(overridable),
        )
    except (ConflictError, RefusedError) as error:
        # Somebody was faster: they moved the channel, froze it or quarantined the version.
        now = opened.channel(channel)
        if now.live == version:
            return PromotionOutcome("unchanged", (_since(now),), version, version)
        return PromotionOutcome("refused", (str(error),), version, now.live)
    notes = (*notes, *_close_campaign(opened, channel, version, digest, who))
    return PromotionOutcome("promoted", notes, version, move.previous, move=move)


def _close_campaign(
    registry: Registry, channel: str, version: str, digest: str, who: str
) -> Iterator[str]:
    """Closes what raters were at: it compared with what is no longer live.

    The channel has moved: that this fails must not look as if it had not. Whoever judges the
    campaign sees by itself that its incumbent has changed.
    """
    try:
        for campaign in campaigns.expire_after_promotion(
            registry.store, channel, live=version, live_digest=digest, at=datetime.now(UTC), who=who
        ):
            yield f"closed the rating campaign {campaign}: it compared with what is no longer live"
    except LookalikeError as error:
        yield f"the channel's rating campaign could not be closed: {error}"


def _fatal(registry: Registry, state: ChannelState, manifest: Manifest) -> Iterator[str]:
    """Yields what no force can override."""
    version = manifest.version
    if note := state.quarantine.get(version):
        yield (
            f"{version} is quarantined by {note.who} since {note.when} ({note.why}); "
            f"`lookalike index release {version}` ends that"
        )
    problems = registry.verify(version)
    yield from (f"the bundle is not whole: {problem}" for problem in problems[:5])
    if len(problems) > 5:
        yield f"the bundle is not whole: and {len(problems) - 5} more files"
    if problem := publish.encoder_problem(registry.store, manifest):
        yield problem
    if manifest.items <= 0:
        yield "the bundle's index holds no items"


def _overridable(
    registry: Registry,
    state: ChannelState,
    manifest: Manifest,
    digest: str,
    stored: list[Stored],
) -> Iterator[str]:
    """Yields what a person may override: freeze, verdicts, ages, size and churn."""
    if state.frozen:
        yield (
            f"the channel is frozen by {state.frozen.who} since {state.frozen.when} "
            f"({state.frozen.why}); `lookalike index unfreeze` ends that"
        )
    policy = registry.policy(state.name)
    now = datetime.now(UTC)
    for gate in policy.needed_verdicts:
        if gate == inheritance.GATE and not any(entry.verdict.gate == gate for entry in stored):
            yield from _inherited(registry, state, manifest, digest, stored, policy, now)
        else:
            yield from _gate(gate, stored, digest, state, policy, now)
    age = _age_days(manifest.created, now)
    if age is None:
        yield f"the bundle's time {manifest.created!r} cannot be read or lies in the future"
    elif age > policy.max_bundle_age_days:
        yield (
            f"the bundle is {age:.1f} days old; at most {policy.max_bundle_age_days:g} are allowed"
        )
    if state.live:
        yield from _against_incumbent(registry, state, manifest, policy)


def _gate(
    gate: str,
    stored: list[Stored],
    digest: str,
    state: ChannelState,
    policy: Policy,
    now: datetime,
) -> Iterator[str]:
    mine = [entry for entry in stored if entry.verdict.gate == gate]
    if not mine:
        yield f"{gate}: there is no verdict on this bundle"
        return
    # One that cannot be read may be the newest, and may be a fail.
    unreadable = [entry for entry in mine if not entry.readable]
    yield from (f"{gate}: {entry.verdict.checks[0].reason}" for entry in unreadable)
    readable = [entry for entry in mine if entry.readable]
    if not readable:
        return
    times = [_age_days(entry.verdict.created, now) for entry in readable]
    if None in times:
        yield f"{gate}: a verdict's time cannot be read or lies in the future"
        return
    # Of several at one time the worst counts.
    newest = min(age for age in times if age is not None)
    latest = [entry for entry, age in zip(readable, times) if age == newest]
    entry = next((entry for entry in latest if entry.verdict.status != "pass"), latest[-1])
    verdict = entry.verdict
    if verdict.manifest_digest != digest:
        yield (
            f"{gate}: the verdict judges another manifest ({verdict.manifest_digest[:12]}..., this "
            f"one is {digest[:12]}...)"
        )
    if verdict.status != "pass":
        yield verdict.summary()
    if verdict.simulated and not policy.allow_simulated:
        yield f"{gate}: no person judged this (simulated ratings), and the policy wants people"
    if newest > policy.max_verdict_age_days:
        yield (
            f"{gate}: the verdict is {newest:.1f} days old; at most "
            f"{policy.max_verdict_age_days:g} are allowed"
        )
    if policy.same_incumbent and verdict.incumbent != state.live:
        yield (
            f"{gate}: the verdict compares with {verdict.incumbent or 'nothing'}, but "
            f"{state.live or 'nothing'} is live"
        )
    allowed = (policy.writers or {}).get(gate)
    if allowed is not None and verdict.writer not in allowed:
        yield f"{gate}: written by {verdict.writer!r}, who may not ({', '.join(allowed)} may)"
    if entry.signature == "invalid":
        yield f"{gate}: the verdict's signature is wrong"
    elif policy.signed and entry.signature != "valid":
        yield f"{gate}: the policy wants signed verdicts; the signature is {entry.signature}"


def _inherited(
    registry: Registry,
    state: ChannelState,
    manifest: Manifest,
    digest: str,
    stored: list[Stored],
    policy: Policy,
    now: datetime,
) -> Iterator[str]:
    """Yields why a bundle that nobody judged may not live on its origin's human verdict."""
    gate = inheritance.GATE
    lineage, problem = inheritance.find_origin(registry, state, manifest, digest, stored, policy)
    if lineage is None:
        yield problem
        return
    # The origin's verdict compares with what was live before it; that is as it should be.
    judged = replace(policy, same_incumbent=False)
    verdicts = registry.stored_verdicts(lineage.origin)
    yield from (
        f"{reason} (inherited from {lineage.origin})"
        for reason in _gate(gate, verdicts, lineage.origin_digest, state, judged, now)
    )


def _against_incumbent(
    registry: Registry, state: ChannelState, manifest: Manifest, policy: Policy
) -> Iterator[str]:
    try:
        incumbent, _ = registry.manifest(state.live)
        churn = item_churn(item_ids(registry, state.live), item_ids(registry, manifest.version))
    except LookalikeError as error:
        yield f"the bundle cannot be compared with the incumbent: {error}"
        return
    ratio = manifest.items / incumbent.items if incumbent.items > 0 else 1.0
    if ratio < policy.min_size_ratio:
        yield (
            f"the bundle has {manifest.items:,} items, {ratio:.0%} of the incumbent's "
            f"{incumbent.items:,}; at least {policy.min_size_ratio:.0%} are required"
        )
    if churn > policy.max_churn:
        yield (
            f"{churn:.0%} of the items are in only one of bundle and incumbent; at most "
            f"{policy.max_churn:.0%} are allowed"
        )


def item_ids(registry: Registry, version: str) -> set[str]:
    """Returns the ids of the items that a bundle indexes.

    Raises:
        LookalikeError: The bundle's items.jsonl is missing or cannot be read.
    """
    key = publish.bundle_key(version, "items.jsonl")
    data, _ = registry.store.read(key)
    try:
        return {str(json.loads(line)["item_id"]) for line in data.splitlines() if line.strip()}
    except (ValueError, KeyError, TypeError) as error:
        raise LookalikeError(
            f"{key}: expected a JSON object with item_id a line ({error})"
        ) from None


def item_churn(before: set[str], after: set[str]) -> float:
    """Returns the Jaccard distance 1 - |A ∩ B| / |A ∪ B| of two sets of items; 0 for empty ones."""
    union = len(before | after)
    return 1 - len(before & after) / union if union else 0.0


def _age_days(created: str, now: datetime) -> float | None:
    """Returns the age in days; None for what is no time, has no zone, or lies in the future."""
    try:
        seconds = (now - datetime.fromisoformat(created)).total_seconds()
    except (ValueError, TypeError):
        return None
    return max(seconds, 0.0) / _DAY_S if seconds > -_CLOCK_SKEW_S else None


def _since(state: ChannelState) -> str:
    for move in state.held:
        if move.to == state.live and move.kind in ("promote", "rollback"):
            return f"{move.sentence()}"
    return f"{state.live or 'nothing'} is live"
