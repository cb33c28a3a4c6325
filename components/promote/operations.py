"""Everything that a person does to a channel, the same from a terminal and from the console.

Each operation can be asked what it would do (`dry_run`), says in words what it did, and gives the
event to tell others of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from components.contracts.errors import InputError
from components.promote.promote import promote_candidate
from components.registry import events
from components.registry.channel import Kind, Move, check_channel, check_text
from components.registry.opening import open_channel, open_registry
from components.registry.registry import ConflictError

Note = Literal["freeze", "unfreeze", "quarantine", "release"]
NOTES: tuple[Note, ...] = get_args(Note)
KINDS: tuple[Kind, ...] = get_args(Kind)

_NOTED = {
    "freeze": "frozen: no promotion is taken; rollback still works",
    "unfreeze": "takes promotions again",
    "quarantine": "{} is quarantined",
    "release": "{} is released; nothing is promoted by that",
}


@dataclass(frozen=True)
class Done:
    """What an operation did, or would do.

    Attributes:
        words: In one line.
        refused: Whether a gate refused it; nothing was changed then.
        version: What would be or is live after it; empty when it moves nothing.
        reasons: Why, or what there is to know; one sentence each.
        result: The same as JSON values.
        move: The entry in the history; None when nothing was changed.
        event: What to tell others; None when there is nothing to tell.
    """

    words: str
    refused: bool = False
    version: str = ""
    reasons: tuple[str, ...] = ()
    result: dict[str, Any] = field(default_factory=dict)
    move: Move | None = None
    event: dict[str, Any] | None = None


def operate(
    kind: Kind,
    *,
    registry: str,
    channel: str,
    version: str = "",
    who: str,
    why: str,
    force: bool = False,
    dry_run: bool = False,
    expected_live: str | None = None,
) -> Done:
    """Does one thing to a channel.

    Args:
        kind: What.
        registry: A local path, `file:///path`, or `gs://bucket/prefix`.
        channel: The channel.
        version: What to promote, quarantine or release; where to roll back to, empty for the
            latest that can come back. Not used to freeze and unfreeze.
        who: The person.
        why: The reason in words.
        force: Whether a promotion overrides verdicts, policy and freeze; never integrity.
        dry_run: Whether to only say what would happen.
        expected_live: What the person saw live, empty for nothing; when something else is live by
            now, nothing is changed. None for whatever is.

    Returns:
        What was done. That a gate refuses a promotion is an outcome, not an error.

    Raises:
        InputError: A name or the reason cannot be one, or there is no such version.
        ConflictError: Something else is live than expected.
        LookalikeError: The channel does not take it, or the registry cannot be read or written.
    """
    check_text("reason", why)
    check_text("who", who, limit=200)
    check_channel(channel)
    if kind == "promote":
        return promote(
            registry=registry,
            channel=channel,
            version=version,
            who=who,
            why=why,
            force=force,
            dry_run=dry_run,
            expected_live=expected_live,
        )
    if kind == "rollback":
        return roll_back(
            registry=registry,
            channel=channel,
            to=version,
            who=who,
            why=why,
            dry_run=dry_run,
            expected_live=expected_live,
        )
    return note(
        kind, registry=registry, channel=channel, version=version, who=who, why=why, dry_run=dry_run
    )


def promote(
    *,
    registry: str,
    channel: str,
    version: str,
    who: str,
    why: str,
    force: bool = False,
    dry_run: bool = False,
    expected_live: str | None = None,
) -> Done:
    """Makes a version live if its verdicts, its bytes and the channel's policy allow it."""
    open_registry(registry)
    outcome = promote_candidate(
        registry=registry,
        channel=channel,
        version=version,
        expected_incumbent=expected_live,
        who=who,
        why=why,
        force=force,
        dry_run=dry_run,
    )
    before = outcome.previous or "nothing"
    words = {
        "promoted": f"{channel}: {version} {_is(dry_run)} live; before: {before}",
        "unchanged": f"{channel}: {version} is live already; nothing was changed",
        "refused": f"{channel}: refused; {before} stays live",
    }[outcome.outcome]
    return Done(
        words,
        refused=outcome.outcome == "refused",
        version="" if outcome.outcome == "refused" else version,
        reasons=outcome.reasons,
        result=outcome.to_json(),
        move=outcome.move,
        event=_event(registry, channel, outcome.move),
    )


def roll_back(
    *,
    registry: str,
    channel: str,
    to: str = "",
    who: str,
    why: str,
    dry_run: bool = False,
    expected_live: str | None = None,
) -> Done:
    """Brings back what was live before, and quarantines what is live now."""
    opened, state = open_channel(registry, channel)
    if expected_live is not None and state.live != expected_live:
        raise ConflictError(
            f"channel {channel}: expected {expected_live or 'nothing'} to be live, but "
            f"{state.live or 'nothing'} is by now; look again and decide anew"
        )
    target, passed = opened.plan_rollback(state, to=to)
    move = None
    if not dry_run:
        move = opened.move(
            channel,
            to=target,
            expected_from=state.live,
            kind="rollback",
            who=who,
            why=why,
            checked=state,
        )
    return Done(
        f"{channel}: {target} {_is(dry_run)} live again",
        version=target,
        reasons=(
            f"{state.live} {_is(dry_run)} quarantined; `lookalike index release {state.live}` "
            "ends that",
            *(f"passed over: {reason}" for reason in passed),
        ),
        result={
            "outcome": "rolled_back",
            "from": state.live,
            "to": target,
            "passed_over": list(passed),
            "dry_run": dry_run,
            "move": None if move is None else move.to_json(),
        },
        move=move,
        event=_event(registry, channel, move),
    )


def note(
    kind: Kind,
    *,
    registry: str,
    channel: str,
    version: str = "",
    who: str,
    why: str,
    dry_run: bool = False,
) -> Done:
    """Freezes or unfreezes a channel, or quarantines or releases a version on it."""
    if kind not in NOTES:
        raise InputError(f"kind {kind!r}: expected one of {', '.join(NOTES)}")
    opened, _ = open_channel(registry, channel)
    move: Move | None = None
    if kind in ("freeze", "unfreeze"):
        version = ""
    if dry_run:
        opened.check_note(channel, kind, version)
    elif kind == "freeze":
        move = opened.freeze(channel, who=who, why=why)
    elif kind == "unfreeze":
        move = opened.unfreeze(channel, who=who, why=why)
    elif kind == "quarantine":
        move = opened.quarantine(channel, version, who=who, why=why)
    else:
        move = opened.release(channel, version, who=who, why=why)
    return Done(
        f"{channel}: {'would be: ' if dry_run else ''}{_NOTED[kind].format(version)}",
        result={
            "outcome": kind,
            "version": version,
            "dry_run": dry_run,
            "move": None if move is None else move.to_json(),
        },
        move=move,
        event=_event(registry, channel, move),
    )


def _is(dry_run: bool) -> str:
    return "would be" if dry_run else "is"


def _event(registry: str, channel: str, move: Move | None) -> dict[str, Any] | None:
    if move is None or move.kind not in events.EVENT_KINDS:
        return None
    return events.event(registry, channel, move)
