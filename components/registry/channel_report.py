"""What there is to know of a channel at a glance, for a terminal and for the console alike."""

from __future__ import annotations

from typing import Any

from components.contracts.errors import LookalikeError
from components.registry import history
from components.registry.channel import ChannelState, Move
from components.registry.registry import Registry
from components.registry.verdict_log import Stored


def channel_report(registry: Registry, name: str) -> dict[str, Any]:
    """Returns what is live on a channel, since when, by whom and why; as JSON values.

    What cannot be read becomes a sentence under `problems`: a report never fails.
    """
    report: dict[str, Any] = {"channel": name, "live": "", "problems": []}
    try:
        state = registry.channel(name)
    except LookalikeError as error:
        report["problems"].append(str(error))
        return report
    target = ""
    passed: tuple[str, ...] = ()
    if state.live:
        try:
            target, passed = registry.rollback_target(state)
        except LookalikeError as error:
            report["problems"].append(str(error))
    report |= {
        "live": state.live,
        "moves": state.moves,
        "frozen": None if state.frozen is None else vars(state.frozen),
        "quarantine": {version: vars(note) for version, note in state.quarantine.items()},
        "rollback_to": target,
        "rollback_passes_over": list(passed),
        "since": None,
        "bundle": None,
        "verdicts": [],
    }
    if state.live:
        try:
            move = live_since(registry, state)
            report["since"] = None if move is None else move.to_json()
            manifest, _ = registry.manifest(state.live)
            report["bundle"] = {
                "created": manifest.created,
                "items": manifest.items,
                "mode": manifest.mode,
            }
            report["verdicts"] = [
                verdict_line(stored) for stored in registry.stored_verdicts(state.live)
            ]
        except LookalikeError as error:
            report["problems"].append(str(error))
    return report


def live_since(registry: Registry, state: ChannelState) -> Move | None:
    """Returns the entry that made the live version live; None when the history has none.

    Raises:
        LookalikeError: The history cannot be read.
    """
    for move in history.entries(registry.store, state):
        if move.to == state.live and move.previous != move.to:
            return move
    return None


def version_row(
    registry: Registry, version: str, updated: float, states: list[ChannelState]
) -> dict[str, Any]:
    """Returns one line of a list of versions, as JSON values.

    Args:
        registry: The registry.
        version: A published version.
        updated: When it was published, in seconds since 1970.
        states: The channels that it may be live or quarantined on.
    """
    row: dict[str, Any] = {"version": version, "published": updated, "items": 0, "mode": "?"}
    row["states"] = [f"LIVE on {state.name}" for state in states if state.live == version] + [
        f"quarantined on {state.name}" for state in states if version in state.quarantine
    ]
    try:
        manifest, _ = registry.manifest(version)
    except LookalikeError:
        row["states"].append("UNREADABLE manifest")
    else:
        row |= {"items": manifest.items, "mode": manifest.mode, "created": manifest.created}
    newest = {stored.verdict.gate: stored.verdict for stored in registry.stored_verdicts(version)}
    row["verdicts"] = [f"{gate} {verdict.status}" for gate, verdict in sorted(newest.items())]
    return row


def verdict_line(stored: Stored) -> dict[str, Any]:
    """Returns a verdict without its checks, as JSON values."""
    verdict = stored.verdict
    return {
        "key": stored.key,
        "gate": verdict.gate,
        "status": verdict.status,
        "summary": verdict.summary(),
        "created": verdict.created,
        "writer": verdict.writer,
        "simulated": verdict.simulated,
        "signature": stored.signature,
    }
