"""When a delta may go live on the human verdict of the whole build that it came from.

People judged what shoppers see. A delta shows nearly the same; how nearly, evaluate measured, and
how nearly is near enough, the channel's policy says. Whatever is not known counts against it.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.contracts.bundle import Manifest
from components.contracts.delta import CHANGED_RESULTS, DeltaLineage, read_lineage
from components.contracts.errors import LookalikeError
from components.contracts.verdict import Check
from components.registry.channel import ChannelState
from components.registry.policy import Policy
from components.registry.registry import Registry
from components.registry.verdict_log import Stored

GATE = "human"
_MEASURED_BY = "offline"


def find_origin(
    registry: Registry,
    state: ChannelState,
    manifest: Manifest,
    digest: str,
    stored: Sequence[Stored],
    policy: Policy,
) -> tuple[DeltaLineage | None, str]:
    """Returns the origin whose human verdict a bundle without one may inherit.

    Args:
        registry: Where the origin is published.
        state: The channel.
        manifest: The bundle's.
        digest: SHA-256 of it.
        stored: The verdicts on the bundle.
        policy: The channel's.

    Returns:
        The lineage and an empty text; or None and why nothing is inherited.
    """
    missing = f"{GATE}: there is no verdict on this bundle"
    try:
        lineage = read_lineage(manifest)
    except LookalikeError as error:
        return None, f"{missing}, and where it comes from cannot be read: {error}"
    if lineage is None:
        return None, missing
    if policy.max_inherited_change <= 0:
        return None, (
            f"{missing}; it is a delta of {lineage.origin}, but the policy of this channel lets no "
            "delta inherit a human verdict (max_inherited_change is 0)"
        )
    if problem := _unmeasured(digest, stored, lineage, policy):
        return None, f"{missing}, and nothing is inherited: {problem}"
    if problem := _not_live_here(registry, state, lineage):
        return None, f"{missing}, and nothing is inherited: {problem}"
    return lineage, ""


def inherited(
    registry: Registry, manifest: Manifest, stored: Sequence[Stored], refused: Sequence[str]
) -> tuple[str, tuple[str, ...]]:
    """Returns a sentence on what a promotion inherits and the keys of those verdicts.

    Args:
        registry: Where the origin's verdicts are.
        manifest: The bundle's.
        stored: The verdicts on the bundle.
        refused: Why it is not promoted without force.

    Returns:
        Both empty when nothing is inherited.
    """
    if refused or any(entry.verdict.gate == GATE for entry in stored):
        return "", ()
    try:
        lineage = read_lineage(manifest)
    except LookalikeError:
        return "", ()
    if lineage is None:
        return "", ()
    keys = tuple(
        entry.key
        for entry in registry.stored_verdicts(lineage.origin)
        if entry.readable and entry.verdict.gate == GATE
    )
    if not keys:
        return "", ()
    return f"a delta of {lineage.origin}, whose human verdict it inherits", keys


def _unmeasured(
    digest: str, stored: Sequence[Stored], lineage: DeltaLineage, policy: Policy
) -> str:
    """Returns why the share of changed results is too large or unknown; empty when it is not.

    Every offline verdict on the bundle counts, so that measuring again until it fits helps nobody.
    """
    offline = [entry for entry in stored if entry.verdict.gate == _MEASURED_BY]
    if not offline:
        return "no offline verdict says how many results have changed"
    for entry in offline:
        if not entry.readable or entry.verdict.manifest_digest != digest:
            return f"{entry.key} does not judge this bundle or cannot be read"
        checks = [check for check in entry.verdict.checks if check.name == CHANGED_RESULTS]
        if len(checks) != 1 or (problem := _unusable(checks[0], lineage)):
            why = problem if len(checks) == 1 else f"it holds {len(checks)} such checks"
            return f"{entry.key} does not say how many results have changed ({why})"
        upper = checks[0].upper
        assert upper is not None
        if upper > policy.max_inherited_change:
            return (
                f"up to {upper:.2%} of the results are other than those of {lineage.origin}; at "
                f"most {policy.max_inherited_change:.2%} may be; let people judge it, or run the "
                "whole pipeline"
            )
    return ""


def _unusable(check: Check, lineage: DeltaLineage) -> str:
    if check.status != "pass":
        return check.reason
    if check.slice != lineage.origin:
        return f"it compares with {check.slice}"
    if check.upper is None:
        return "it has no upper bound"
    return ""


def _not_live_here(registry: Registry, state: ChannelState, lineage: DeltaLineage) -> str:
    """Returns why what is live is not what the delta grew from; empty when it is.

    A channel that was rolled back, or moved to another build, has left the origin for a reason.
    """
    try:
        _, origin_digest = registry.manifest(lineage.origin)
        if origin_digest != lineage.origin_digest:
            return f"{lineage.origin} is not the build that this delta was made from"
        if lineage.origin in state.quarantine:
            return f"{lineage.origin} is quarantined"
        if state.live == lineage.origin:
            return ""
        live = read_lineage(registry.manifest(state.live)[0]) if state.live else None
    except LookalikeError as error:
        return f"what it came from cannot be read: {error}"
    if live is None or live.origin_digest != lineage.origin_digest:
        return f"{state.live or 'nothing'} is live, which did not come from {lineage.origin}"
    return ""
