"""Where a rollback goes: what was live before, is still whole, and is not quarantined."""

from __future__ import annotations

from components.contracts.bundle import check_version
from components.contracts.errors import InputError, LookalikeError
from components.registry import history, publish
from components.registry.channel import ChannelState
from components.registry.object_store import ObjectNotFoundError, ObjectStore


def unfit(store: ObjectStore, state: ChannelState, version: str, *, whole: bool) -> str:
    """Returns why a version cannot be live on a channel; empty when it can.

    Args:
        store: The registry's store.
        state: The channel.
        version: The version.
        whole: Whether to look for missing files and wrong sizes, too.
    """
    if note := state.quarantine.get(version):
        return (
            f"{version} is quarantined by {note.who} since {note.when} ({note.why}); "
            f"`lookalike index release {version}` ends that"
        )
    if publish.is_condemned(store, version):
        return f"{version} is being removed by gc"
    try:
        if not whole:
            store.stat(publish.bundle_key(version))
            return ""
        problems = publish.problems_of(store, version, contents=False)
    except (InputError, ObjectNotFoundError):
        return f"{version} is not in the registry"
    except publish.BundleError as error:
        problems = [str(error)]
    return f"{version} is not whole: {'; '.join(problems[:3])}" if problems else ""


def target(store: ObjectStore, state: ChannelState) -> tuple[str, tuple[str, ...]]:
    """Returns what a rollback would bring back, and what it passes over and why.

    Returns:
        The version, empty when there is none; and one sentence for each version that was live
        before but is quarantined, missing or not whole.
    """
    passed: list[str] = []
    moves = history.entries(store, state)
    for version in history.rollback_targets(moves, state.live):
        if (problem := unfit(store, state, version, whole=True)) == "":
            return version, tuple(passed)
        passed.append(problem)
    return "", tuple(passed)


def plan(store: ObjectStore, state: ChannelState, *, to: str = "") -> tuple[str, tuple[str, ...]]:
    """Returns where a rollback goes, and what it passes over; changes nothing.

    Args:
        store: The registry's store.
        state: The channel.
        to: A version that was live on the channel before; empty for the latest that can come back.

    Raises:
        LookalikeError: There is nothing to go back to, or `to` was never live here or cannot be.
    """
    if not state.live:
        raise LookalikeError(
            f"channel {state.name}: nothing is live, so there is nothing to roll back"
        )
    if not to:
        found, passed = target(store, state)
        if not found:
            why = f" ({'; '.join(passed)})" if passed else ""
            raise LookalikeError(
                f"channel {state.name}: nothing was live before {state.live} that could come "
                f"back{why}; promote a version instead, or release one from quarantine"
            )
        return found, passed
    check_version(to)
    if to == state.live:
        raise LookalikeError(f"channel {state.name}: {to} is live already")
    if not any(to in (move.previous, move.to) for move in history.entries(store, state)):
        raise LookalikeError(
            f"channel {state.name}: {to} was never live here; a version goes live by "
            "`lookalike index promote`, which checks its verdicts"
        )
    if problem := unfit(store, state, to, whole=True):
        raise LookalikeError(f"channel {state.name}: not rolled back: {problem}")
    return to, ()
