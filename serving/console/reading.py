"""What the console shows of a registry, read in one go by blocking functions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from components.contracts.bundle import Manifest
from components.contracts.errors import LookalikeError
from components.contracts.files import sha256_bytes
from components.registry import bundle_diff, history, publish
from components.registry.channel import ChannelState, Move
from components.registry.channel_report import channel_report, version_row
from components.registry.opening import known_channel, open_channel, open_registry
from components.registry.policy import Policy
from components.registry.registry import Registry
from components.registry.verdict_log import Stored

VERSIONS = 12
"""How many of the newest versions the overview lists."""
MOVES = 25
"""How many entries of a history a page shows."""
_TARGETS = 8
# Reading an object takes tens of milliseconds on Google Cloud Storage; none waits for another.
_READERS = 8
CURVES = ("index/curve.json", "encoder/curves.json")


@dataclass(frozen=True)
class Overview:
    """Channels and the newest versions.

    Attributes:
        read_at: When they were read.
        channels: A report on each channel; see `channel_report`.
        versions: One line a version, the newest first; see `version_row`.
        total: How many versions there are.
    """

    read_at: datetime
    channels: tuple[dict[str, Any], ...]
    versions: tuple[dict[str, Any], ...]
    total: int


@dataclass(frozen=True)
class ChannelView:
    """One channel.

    Attributes:
        report: See `channel_report`.
        state: What its object says.
        moves: A stretch of its history, the newest first.
        policy: What it demands; None when that cannot be read.
        targets: What a rollback could bring back by name, the latest first.
    """

    report: dict[str, Any]
    state: ChannelState
    moves: tuple[Move, ...]
    policy: Policy | None
    targets: tuple[str, ...]


@dataclass(frozen=True)
class VersionView:
    """One version.

    Attributes:
        manifest: What it is.
        digest: SHA-256 of its manifest.
        verdicts: What the gates said of it, the oldest first.
        states: All channels.
        curves: The content of its curve files by path; what cannot be read is left out.
    """

    manifest: Manifest
    digest: str
    verdicts: tuple[Stored, ...]
    states: tuple[ChannelState, ...]
    curves: dict[str, Any]


def overview(uri: str, *, limit: int | None = VERSIONS) -> Overview:
    """Reads the channels and the newest versions; all of them without a limit.

    Raises:
        LookalikeError: There is no registry, or it cannot be read.
    """
    registry = open_registry(uri)
    names = registry.channels()
    published = registry.published()[::-1]
    with ThreadPoolExecutor(_READERS, thread_name_prefix="console") as pool:
        reports = tuple(pool.map(lambda name: channel_report(registry, name), names))
        states = list(pool.map(lambda name: _state(registry, name), names))
        rows = tuple(
            pool.map(
                lambda entry: version_row(registry, entry[0], entry[1], states), published[:limit]
            )
        )
    return Overview(datetime.now(UTC), reports, rows, len(published))


def channel(uri: str, name: str, *, before: int | None = None) -> ChannelView:
    """Reads one channel.

    Args:
        uri: The registry.
        name: The channel.
        before: Show the history before this entry; None for the newest.

    Raises:
        LookalikeError: There is no such channel, or it cannot be read.
    """
    registry, state = open_channel(uri, name)
    moves = history.entries(registry.store, state)
    shown = (move for move in moves if before is None or move.number < before)
    try:
        policy = registry.policy(name)
    except LookalikeError:
        policy = None
    targets = history.rollback_targets(history.entries(registry.store, state), state.live)
    return ChannelView(
        channel_report(registry, name),
        state,
        tuple(islice(shown, MOVES)),
        policy,
        tuple(islice(targets, _TARGETS)),
    )


def version(uri: str, name: str) -> VersionView:
    """Reads one version.

    Raises:
        LookalikeError: There is no such version, or it cannot be read.
    """
    registry = open_registry(uri)
    manifest, digest = registry.manifest(name)
    return VersionView(
        manifest,
        digest,
        tuple(registry.stored_verdicts(name)),
        tuple(_state(registry, other) for other in registry.channels()),
        {path: value for path in CURVES if (value := _curve(registry, manifest, path)) is not None},
    )


def difference(uri: str, a: str, b: str) -> bundle_diff.BundleDiff:
    """Compares two versions.

    Raises:
        LookalikeError: There is no such version, or it cannot be read.
    """
    return bundle_diff.compare(open_registry(uri), a, b)


def channels(uri: str, names: Sequence[str]) -> tuple[ChannelState, ...]:
    """Reads some channels, all of which must exist."""
    registry = open_registry(uri)
    return tuple(known_channel(registry, name) for name in names)


def _state(registry: Registry, name: str) -> ChannelState:
    try:
        return registry.channel(name)
    except LookalikeError:
        # The report on the channel tells of it.
        return ChannelState(name)


def _curve(registry: Registry, manifest: Manifest, path: str) -> Any:
    entry = manifest.files.get(path)
    if entry is None:
        return None
    try:
        data, _ = registry.store.read(publish.bundle_key(manifest.version, path))
        return json.loads(data) if sha256_bytes(data) == entry.sha256 else None
    except (LookalikeError, ValueError):
        return None
