"""Opening what must be there already: a mistyped name is told apart from an empty registry."""

from __future__ import annotations

from components.contracts.errors import InputError, LookalikeError
from components.registry.channel import ChannelState, check_channel
from components.registry.registry import Registry


def open_registry(uri: str) -> Registry:
    """Opens a registry that must exist already.

    Raises:
        InputError: The URI cannot name one.
        LookalikeError: Nothing is there.
    """
    registry = Registry.open(uri)
    for prefix, name in (("channels/", None), ("bundles/", "manifest.json")):
        if next(iter(registry.store.list(prefix, name=name)), None) is not None:
            return registry
    raise LookalikeError(
        f"{uri}: there is no registry here, or it is empty; check --registry (`lookalike run` "
        "keeps its registry in WORKSPACE/registry)"
    )


def known_channel(registry: Registry, name: str) -> ChannelState:
    """Returns the state of a channel that must exist.

    Raises:
        InputError: There is no such channel; the message names those there are.
    """
    state = registry.channel(check_channel(name))
    if state.generation == 0:
        there = ", ".join(registry.channels()) or "none yet"
        raise InputError(f"{registry.uri}: there is no channel {name!r}; there are: {there}")
    return state


def open_channel(uri: str, name: str) -> tuple[Registry, ChannelState]:
    """Opens a registry and reads a channel, both of which must exist; asks as little as it can.

    Raises:
        InputError: There is no such channel.
        LookalikeError: There is no registry.
    """
    registry = Registry.open(uri)
    state = registry.channel(check_channel(name))
    if state.generation == 0:
        known_channel(open_registry(uri), name)
    return registry, state
