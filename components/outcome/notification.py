"""The one message that a run ends with: its outcome and the reasons, also when a step failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from components.contracts.errors import LookalikeError
from components.registry import run_log
from components.registry.registry import Registry

Outcome = Literal["promoted", "unchanged", "refused", "undecided", "failed", "cancelled"]
SCHEMA = 1
_LONGEST_REASON = 600
_MOST_REASONS = 20


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        outcome: `promoted`, `unchanged` (it was live already), `refused`, `undecided`, `failed`
            (a step did not end well) or `cancelled`.
        run: The run's id.
        pipeline: The pipeline's name.
        registry: The registry's URI.
        channel: The channel.
        version: The candidate; empty when the run did not come that far.
        live: What the channel points to now; empty for nothing.
        reasons: Why, one sentence each.
    """

    outcome: Outcome
    run: str
    pipeline: str
    registry: str
    channel: str
    version: str
    live: str
    reasons: tuple[str, ...]

    def to_event(self) -> dict[str, Any]:
        """Returns the event that the webhook gets."""
        return {
            "schema": SCHEMA,
            "event": "lookalike.run.finished",
            "outcome": self.outcome,
            "run": self.run,
            "pipeline": self.pipeline,
            "registry": self.registry,
            "channel": self.channel,
            "version": self.version,
            "live": self.live,
            "reasons": list(self.reasons),
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def to_markdown(self, *, told: str) -> str:
        """Returns what the UI shows on the exit handler.

        Args:
            told: What became of the webhook, in words.
        """
        reasons = "".join(f"- {reason}\n" for reason in self.reasons)
        return (
            f"# {self.outcome.capitalize()}: "
            f"{f'`{self.version}`' if self.version else 'no candidate was built'}\n\n{reasons}\n"
            f"| | |\n|---|---|\n| channel | `{self.channel}` |\n"
            f"| live now | `{self.live or 'nothing'}` |\n| registry | `{self.registry}` |\n"
            f"| pipeline | {self.pipeline} |\n| run | `{self.run}` |\n| webhook | {told} |\n"
        )


def read_ending(
    registry: Registry,
    *,
    run: str,
    pipeline: str,
    channel: str,
    state: str,
    error: str,
) -> Ending:
    """Reads how a run ended from its record and from the channel.

    Nothing that is missing or cannot be read stops it: then that is one of the reasons.

    Args:
        registry: The registry.
        run: The run's id.
        pipeline: The pipeline's name.
        channel: The channel.
        state: `SUCCEEDED`, `FAILED` or `CANCELLED`, as the backend says of all steps together.
        error: The backend's error message; empty for none.
    """
    reasons: list[str] = []

    def part(name: str) -> dict[str, Any]:
        try:
            return run_log.read(registry.store, run, name) or {}
        except LookalikeError as trouble:
            reasons.append(f"the run's record cannot be read: {trouble}")
            return {}

    gates, promotion = part("gates"), part("promotion")
    try:
        live = registry.channel(channel).live
    except LookalikeError as trouble:
        live = ""
        reasons.append(f"the channel cannot be read: {trouble}")
    outcome = _outcome(state, gates, promotion)
    if outcome in ("failed", "cancelled"):
        reasons.insert(0, error or f"a step {outcome}; the pipeline's page shows which")
        if gates or promotion:
            said = promotion.get("outcome") or gates.get("outcome")
            reasons.append(f"before that: {said}")
    reasons.extend(promotion.get("reasons", ()) or gates.get("reasons", ()))
    return Ending(
        outcome=outcome,
        run=run,
        pipeline=pipeline,
        registry=registry.uri,
        channel=channel,
        version=str(promotion.get("version") or gates.get("version") or ""),
        live=live,
        reasons=tuple(_short(str(reason)) for reason in reasons[:_MOST_REASONS]),
    )


def _outcome(state: str, gates: dict[str, Any], promotion: dict[str, Any]) -> Outcome:
    if state == "CANCELLED":
        return "cancelled"
    if state != "SUCCEEDED":
        return "failed"
    for known in ("promoted", "unchanged", "refused"):
        if promotion.get("outcome") == known:
            return known
    if gates.get("outcome") == "undecided":
        return "undecided"
    # Gates passed without a promotion, or no record at all: nobody may take it for promoted.
    return "refused" if gates else "failed"


def _short(reason: str) -> str:
    flat = " ".join(reason.split())
    return flat if len(flat) <= _LONGEST_REASON else f"{flat[: _LONGEST_REASON - 1]}…"
