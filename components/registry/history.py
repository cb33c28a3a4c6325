"""Older history of a channel: write-once segments, each holding the sum of the one before.

Sealing happens before the compare-and-swap that drops the entries from the channel's object. The
name of a segment is made of its content, so two writers who seal at once write the same object, and
a writer who then loses the swap leaves nothing that contradicts the winner.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from components.contracts.files import sha256_bytes
from components.registry.channel import KEPT, ChannelError, ChannelState, Move, Sealed, check_chain
from components.registry.object_store import (
    ABSENT,
    ObjectNotFoundError,
    ObjectStore,
    PreconditionFailedError,
)

SCHEMA = 1


def segment_key(channel: str, sealed: Sealed) -> str:
    """Returns where a segment is kept."""
    return f"history/{channel}/{sealed.segment:06d}-{sealed.sha256[:16]}.json"


def seal(store: ObjectStore, state: ChannelState) -> ChannelState:
    """Moves the oldest entries to a segment once the object holds twice what it must.

    Returns:
        The state as it was, or with the `KEPT` newest entries and the new segment.
    """
    if len(state.held) < 2 * KEPT:
        return state
    kept, old = state.held[:KEPT], state.held[KEPT:]
    before = state.sealed
    value = {
        "schema": SCHEMA,
        "channel": state.name,
        "segment": (before.segment if before else 0) + 1,
        "previous": before.sha256 if before else "",
        "history": [move.to_json() for move in old],
    }
    data = (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    sealed = Sealed((before.segment if before else 0) + 1, sha256_bytes(data), old[0].number)
    try:
        store.write(segment_key(state.name, sealed), data, if_generation=ABSENT)
    except PreconditionFailedError:
        # The same entries were sealed by another writer, who may have lost the swap after it.
        if store.read(segment_key(state.name, sealed))[0] != data:
            raise ChannelError(
                f"{segment_key(state.name, sealed)}: holds something else than it was sealed with"
            ) from None
    return replace(state, held=kept, sealed=sealed)


def entries(store: ObjectStore, state: ChannelState) -> Iterator[Move]:
    """Yields the whole history, newest first, reading sealed segments only as far as needed.

    Raises:
        ChannelError: A segment is missing or was changed: its sum is not the one that the next
            one, or the channel's object, holds.
    """
    yield from state.held
    sealed = state.sealed
    while sealed is not None:
        key = segment_key(state.name, sealed)
        try:
            data, _ = store.read(key)
        except ObjectNotFoundError:
            raise ChannelError(
                f"{key}: missing; {sealed.through} older history entries cannot be read"
            ) from None
        if sha256_bytes(data) != sealed.sha256:
            raise ChannelError(f"{key}: was changed after it was sealed; restore it from a backup")
        value = json.loads(data)
        moves = [Move.from_json(entry) for entry in value["history"]]
        if problem := check_chain(moves, newest=sealed.through):
            raise ChannelError(f"{key}: {problem}")
        yield from moves
        oldest = moves[-1].number
        sealed = (
            Sealed(sealed.segment - 1, value["previous"], oldest - 1) if value["previous"] else None
        )


def rollback_targets(moves: Iterator[Move], live: str) -> Iterator[str]:
    """Yields what was live before `live`, the latest first, each version once.

    Going back starts at the promotion that made `live` live, so that a version left by a rollback
    does not return when it is released: rolling back never goes forward.

    Args:
        moves: The history, newest first.
        live: The version to go back from.
    """
    seen = {live, ""}
    found = False
    for move in moves:
        if move.kind != "promote":
            continue
        found = found or move.to == live
        if found and move.previous not in seen:
            seen.add(move.previous)
            yield move.previous
