"""What a delta's manifest says of where it comes from, and what its offline verdict measures.

A delta is a bundle made of a built one with a few items changed. Three who never import each other
need to agree on these words: the index step writes the lineage, evaluate measures what shoppers
would see change, and promote decides whether people's judgement of the origin still holds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from components.contracts.bundle import Manifest, check_version
from components.contracts.errors import InputError

MODE = "delta"
KEY = "delta"
CHANGED_RESULTS = "changed_results"
"""The offline check of a delta: the share of results that people have not judged. Its slice is the
origin's version, and its upper bound is what a channel's policy limits."""


@dataclass(frozen=True)
class DeltaLineage:
    """Where a delta comes from.

    Attributes:
        origin: The last whole build: the version that people judged.
        origin_digest: SHA-256 of the origin's manifest.
        base: The version that the delta was made of: the origin, or a delta of it.
        depth: How many deltas lie between the origin and this one, itself included.
        upserts: Items that this delta added or replaced.
        deletes: Items that it took out.
        changed: Items that differ from the origin's: added, replaced or taken out.
        changed_share: `changed` over the origin's items.
        max_changed_share: What that share may reach before a rebuild is asked for.
    """

    origin: str
    origin_digest: str
    base: str
    depth: int
    upserts: int = 0
    deletes: int = 0
    changed: int = 0
    changed_share: float = 0.0
    max_changed_share: float = 0.0


def read_lineage(manifest: Manifest) -> DeltaLineage | None:
    """Returns where a bundle comes from; None when it is a whole build.

    Raises:
        InputError: It says that it is a delta, but not of what.
    """
    value = manifest.lineage.get(KEY)
    if value is None and manifest.mode != MODE:
        return None
    source = f"version {manifest.version}: lineage.{KEY}"
    if not isinstance(value, dict):
        raise InputError(f"{source}: expected an object, received {value!r}")
    known = {entry.name for entry in fields(DeltaLineage)}
    if unknown := sorted(set(value) - known):
        raise InputError(f"{source}: unknown field {unknown[0]!r}")
    try:
        lineage = DeltaLineage(**value)
    except TypeError as error:
        raise InputError(f"{source}: {error}") from None
    check_version(lineage.origin)
    check_version(lineage.base)
    if not isinstance(lineage.origin_digest, str) or len(lineage.origin_digest) != 64:
        raise InputError(f"{source}: expected the SHA-256 of the origin's manifest")
    return lineage
