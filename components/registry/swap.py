"""Moving a channel: one compare-and-swap of one object, with its history entry inside.

The loop reads the state, lets the caller look at it, and writes the next state on the condition
that the object is still at the generation that was read. An answer that was lost is settled by
looking for the move's id in the history: the id is there exactly when the write took effect.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from components.contracts.errors import LookalikeError
from components.registry import history
from components.registry.backoff import Backoff
from components.registry.channel import ChannelState, Kind, Move, check_channel, parse_state
from components.registry.object_store import (
    ABSENT,
    ObjectNotFoundError,
    ObjectStore,
    OutcomeUnknownError,
    PreconditionFailedError,
    RateLimitedError,
)


class ConflictError(LookalikeError):
    """Somebody else moved the channel first; the message says who."""


class RefusedError(LookalikeError):
    """The channel, as it is now, does not take the version; the message says why."""


def channel_key(name: str) -> str:
    """Returns where a channel's object is kept.

    Raises:
        InputError: The name cannot be a channel's.
    """
    return f"channels/{check_channel(name)}.json"


def read_state(store: ObjectStore, name: str) -> ChannelState:
    """Returns what a channel's object says; an empty state of generation 0 when there is none.

    Raises:
        ChannelError: It cannot be trusted.
    """
    try:
        data, generation = store.read(channel_key(name))
    except ObjectNotFoundError:
        return ChannelState(name=name)
    return parse_state(name, data, generation)


def channel_names(store: ObjectStore) -> list[str]:
    """Returns the channels' names, sorted."""
    names = (info.key.removeprefix("channels/") for info in store.list("channels/"))
    return sorted(
        name.removesuffix(".json") for name in names if name.endswith(".json") and "/" not in name
    )


def touch(store: ObjectStore, name: str, backoff: Backoff) -> ChannelState:
    """Gives a channel's object a new generation without changing it; returns the state.

    Whoever decided on the old generation must decide anew: so `gc` makes sure that no move is
    under way that has not seen what is about to be removed. A channel that does not exist is made.
    """
    error: LookalikeError | None = None
    for _ in backoff.tries():
        state = read_state(store, name)
        try:
            store.write(channel_key(name), state.to_bytes(), if_generation=state.generation)
        except (PreconditionFailedError, RateLimitedError, OutcomeUnknownError) as failure:
            error = failure
        else:
            return read_state(store, name)
    raise error or OutcomeUnknownError(f"channel {name}: not reached")


def add_entry(
    store: ObjectStore,
    name: str,
    *,
    kind: Kind,
    who: str,
    why: str,
    decide: Callable[[ChannelState], str],
    verdicts: tuple[str, ...] = (),
    forced: bool = False,
    subject: str = "",
    state: ChannelState | None = None,
    backoff: Backoff,
) -> Move:
    """Adds one entry to a channel's history, and moves the channel where the entry says.

    Args:
        store: The registry's store.
        name: The channel.
        kind: What is done.
        who: By whom.
        why: The reason in words.
        decide: Given the state that the swap will be conditional on, returns the version to be
            live after it, or raises. It may be called several times.
        verdicts: Keys of the verdicts that allow a promotion.
        forced: Whether gates are overridden.
        subject: The version quarantined or released.
        state: What the caller has just read; spares the first look.
        backoff: How to wait when others are faster or the store is slow.

    Returns:
        The entry as it stands in the history.

    Raises:
        LookalikeError: What `decide` raised; or the store refused or did not answer until the
            deadline.
    """
    identity = uuid.uuid4().hex
    uncertain_since: int | None = None
    unknown = False
    failure: LookalikeError | None = None
    for number in backoff.tries():
        if state is None or number > 0:
            state = read_state(store, name)
        if uncertain_since is not None and (
            found := _find(store, state, identity, uncertain_since)
        ):
            return found
        if state.generation == ABSENT:
            # The object is made first and moved second, so that every move is conditional on an
            # object that gc can touch.
            state = touch(store, name, backoff)
        move = Move(
            id=identity,
            number=state.moves + 1,
            kind=kind,
            who=who,
            when=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            previous=state.live,
            to=decide(state),
            why=why,
            verdicts=verdicts,
            forced=forced,
            subject=subject,
        )
        try:
            after = history.seal(store, state.after(move))
            store.write(channel_key(name), after.to_bytes(), if_generation=state.generation)
        except RateLimitedError as error:
            failure = error
        except (PreconditionFailedError, OutcomeUnknownError) as error:
            # Something between here and the store may have repeated the request: then it is our
            # own success that made the precondition fail.
            failure = error
            uncertain_since = state.moves if uncertain_since is None else uncertain_since
            unknown = unknown or isinstance(error, OutcomeUnknownError)
        else:
            return move
    if uncertain_since is not None:
        found = _find(store, read_state(store, name), identity, uncertain_since)
        if found is not None:
            return found
    if unknown:
        raise OutcomeUnknownError(
            f"channel {name}: the store did not answer in {backoff.deadline_s:.0f} s, and the "
            f"move may take effect yet: look at `lookalike index status` ({failure})"
        )
    raise LookalikeError(
        f"channel {name}: not moved: others were faster, or the store refused, for "
        f"{backoff.deadline_s:.0f} s ({failure}); try again"
    )


def _find(store: ObjectStore, state: ChannelState, identity: str, since: int) -> Move | None:
    for move in history.entries(store, state):
        if move.id == identity:
            return move
        if move.number <= since:
            return None
    return None
