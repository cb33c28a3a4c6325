"""Removing what nothing refers to any more, without ever pulling it from under a promotion.

A version is condemned first; then every channel's object is touched, so that any move decided
before fails its swap and, deciding anew, sees the sentence; only then are the channels read for the
last time and the files removed, the manifest first. Killed anywhere, the next sweep takes it up.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from components.contracts.bundle import MANIFEST_FILE, check_version
from components.contracts.delta import KEY
from components.contracts.errors import InputError, LookalikeError
from components.registry import claims, publish, swap
from components.registry.backoff import Backoff, write_once
from components.registry.channel import ChannelState
from components.registry.object_store import (
    ObjectInfo,
    ObjectNotFoundError,
    ObjectStore,
    PreconditionFailedError,
)


@dataclass(frozen=True)
class Doomed:
    """Something that a sweep would remove, or has removed.

    Attributes:
        version: The bundle.
        kind: `bundle`, or `unfinished` for the remains of an upload or of an earlier sweep.
        files: How many objects.
        size: In bytes.
        age_s: How long ago it was published, or last added to, in seconds.
    """

    version: str
    kind: str
    files: int
    size: int
    age_s: float


@dataclass(frozen=True)
class Plan:
    """What a sweep would do.

    Attributes:
        doomed: What it would remove.
        kept: Why each other version stays, in words.
    """

    doomed: tuple[Doomed, ...]
    kept: dict[str, str]


def references(states: Iterable[ChannelState]) -> dict[str, str]:
    """Returns the versions that channels refer to, each with the reason in words.

    A channel refers to what is live, to what its newest 50 history entries name, and to what it
    has quarantined.
    """
    found: dict[str, str] = {}
    for state in states:
        for version in state.quarantine:
            found.setdefault(version, f"quarantined on {state.name}")
        for move in state.history:
            for version in (move.to, move.previous, move.subject):
                if version:
                    found.setdefault(version, f"in the last moves of {state.name}")
        if state.live:
            found[state.live] = f"live on {state.name}"
    return found


def origins(store: ObjectStore, versions: Iterable[str]) -> dict[str, str]:
    """Returns the whole builds that deltas came from, each with the reason in words.

    A delta is served without its origin, but it lives on the judgement of it: its promotion, the
    verdict on it and the next delta read the origin's files.

    Args:
        store: The registry's store.
        versions: Published versions that stay.
    """
    found: dict[str, str] = {}
    for version in sorted(versions):
        # Read leniently: what another release has written may name an origin, too. What is no
        # JSON, or gone, is nobody's to load and needs nothing.
        try:
            manifest = json.loads(store.read(publish.bundle_key(version))[0])
            origin = check_version(manifest["lineage"][KEY]["origin"])
        except (ObjectNotFoundError, ValueError, KeyError, TypeError, InputError):
            continue
        found.setdefault(origin, f"the whole build that {version} came from")
    return found


def plan(store: ObjectStore, *, keep: int, older_than_s: float, now: float | None = None) -> Plan:
    """Says what a sweep would remove; changes nothing.

    Args:
        store: The registry's store.
        keep: How many of the newest published versions stay whatever their age.
        older_than_s: Versions published less long ago than this stay, in seconds.
        now: Seconds since 1970; the clock's when None.

    Raises:
        ChannelError: A channel cannot be read: what it refers to is not known.
    """
    now = time.time() if now is None else now
    referred = references(swap.read_state(store, name) for name in swap.channel_names(store))
    folders: dict[str, list[ObjectInfo]] = {}
    for info in store.list("bundles/"):
        folders.setdefault(info.key.split("/")[1], []).append(info)
    published = {
        version: next(info.updated for info in infos if info.key.endswith(f"/{MANIFEST_FILE}"))
        for version, infos in folders.items()
        if any(info.key == f"bundles/{version}/{MANIFEST_FILE}" for info in infos)
    }
    newest = set(sorted(published, key=lambda version: (published[version], version))[-keep:])
    newest = newest if keep else set()
    doomed: list[Doomed] = []
    kept: dict[str, str] = {}
    for version, infos in sorted(folders.items()):
        size = sum(info.size for info in infos)
        if version not in published:
            age = now - max(info.updated for info in infos)
            if claims.claim_is_dead(store, version, now - age, now=now):
                doomed.append(Doomed(version, "unfinished", len(infos), size, age))
            else:
                kept[version] = "is being uploaded"
            continue
        age = now - published[version]
        if version in referred:
            kept[version] = referred[version]
        elif version in newest:
            kept[version] = f"among the newest {keep}"
        elif age < older_than_s:
            kept[version] = "younger than asked for"
        else:
            doomed.append(Doomed(version, "bundle", len(infos), size, age))
    whole = origins(store, kept.keys() & published.keys())
    kept |= {one.version: whole[one.version] for one in doomed if one.version in whole}
    doomed = [one for one in doomed if one.version not in whole]
    return Plan(tuple(doomed), kept)


def sweep(store: ObjectStore, doomed: Sequence[Doomed], backoff: Backoff) -> list[Doomed]:
    """Removes what a plan named, as far as nothing refers to it by now.

    Returns:
        What was removed.
    """
    for one in doomed:
        write_once(store, publish.condemned_key(one.version), b"{}\n", backoff)
    for name in swap.channel_names(store):
        swap.touch(store, name, backoff)
    referred = references(swap.read_state(store, name) for name in swap.channel_names(store))
    # A delta that was published, or whose sentence was overtaken by a promotion, since the plan.
    condemned = {one.version for one in doomed}
    manifests = store.list("bundles/", name=MANIFEST_FILE)
    staying = {info.key.split("/")[1] for info in manifests} - condemned
    referred |= origins(store, staying | referred.keys())
    removed = [one for one in doomed if one.version not in referred and _remove(store, one)]
    _pardon(store, referred)
    _forget_claims(store)
    store.sweep_temporary(claims.CLAIM_SECONDS)
    return removed


def _remove(store: ObjectStore, one: Doomed) -> bool:
    """Removes a condemned version, unless somebody is uploading it; the manifest goes first."""
    version = one.version
    try:
        claim = claims.take_claim(store, version, claims.REMOVAL)
    except claims.ClaimedError:
        store.delete(publish.condemned_key(version))
        return False
    manifest = publish.bundle_key(version)
    infos = [info for info in store.list(f"bundles/{version}/") if info.key != manifest]
    if one.kind == "unfinished" and _exists(store, manifest):
        # It was finished since the plan was made.
        removed = False
    else:
        store.delete(manifest)
        for info in infos:
            store.delete(info.key)
        removed = True
    store.delete(publish.condemned_key(version))
    claims.release_claim(store, version, claim)
    return removed


def _pardon(store: ObjectStore, referred: dict[str, str]) -> None:
    """Lifts sentences that will not be carried out: on what is referred to, or gone already."""
    for info in list(store.list("condemned/")):
        version = info.key.removeprefix("condemned/").removesuffix(".json")
        try:
            check_version(version)
        except InputError:
            continue
        if version in referred or not any(True for _ in store.list(f"bundles/{version}/")):
            store.delete(info.key)


def _forget_claims(store: ObjectStore) -> None:
    """Removes dead claims on versions that are published, or of which nothing is left."""
    for info in list(store.list("claims/")):
        version = info.key.removeprefix("claims/").removesuffix(".json")
        try:
            dead = claims.claim_is_dead(store, version, info.updated, now=time.time())
        except InputError:
            continue
        prefix = f"bundles/{version}/"
        idle = _exists(store, publish.bundle_key(version)) or not any(
            True for _ in store.list(prefix)
        )
        if dead and idle:
            with contextlib.suppress(PreconditionFailedError):
                store.delete(info.key, if_generation=info.generation)


def _exists(store: ObjectStore, key: str) -> bool:
    try:
        store.stat(key)
    except LookalikeError:
        return False
    return True
