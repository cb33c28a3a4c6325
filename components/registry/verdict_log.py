"""Verdicts in a registry: write-once objects under `verdicts/<version>/`, beside the bundle.

A verdict is judged later than the bundle is built, names the manifest digest that it judges, and
is never changed: a new judgement is a new object. With a verdict key, each has its HMAC beside it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from components.contracts.bundle import check_version
from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import sha256_bytes
from components.contracts.verdict import Check, Verdict
from components.registry.backoff import Backoff, write_once
from components.registry.object_store import (
    ObjectNotFoundError,
    ObjectStore,
    ObjectStoreError,
)

KEY_VARIABLE = "LOOKALIKE_VERDICT_KEY_FILE"
_GATE = re.compile(r"[a-z][a-z0-9_]{0,40}")


@dataclass(frozen=True)
class Stored:
    """A verdict as the registry holds it.

    Attributes:
        key: Its object.
        verdict: What it says; a `fail` that says why when it could not be read.
        readable: Whether it could be read.
        signature: `valid`, `invalid`, `missing`, or `unchecked` when there is no key to check with.
    """

    key: str
    verdict: Verdict
    readable: bool
    signature: str


def verdict_key_from_environment() -> bytes | None:
    """Returns the key that verdicts are signed with, from the file the environment names.

    Raises:
        InputError: The file cannot be read or is shorter than 16 bytes.
    """
    name = os.environ.get(KEY_VARIABLE, "")
    if not name:
        return None
    try:
        key = Path(name).read_bytes().strip()
    except OSError as error:
        raise InputError(f"{KEY_VARIABLE}: {name}: {error.strerror}") from None
    if len(key) < 16:
        raise InputError(f"{KEY_VARIABLE}: {name}: expected a key of at least 16 bytes")
    return key


def write(store: ObjectStore, verdict: Verdict, key: bytes | None, backoff: Backoff) -> str:
    """Writes a verdict once; the same verdict again does nothing.

    Args:
        store: The registry's store.
        verdict: What a gate says.
        key: What to sign it with; None writes no signature.
        backoff: How to wait.

    Returns:
        The object's key.

    Raises:
        InputError: The gate's name or the version cannot be part of a key.
    """
    check_version(verdict.version)
    if not _GATE.fullmatch(verdict.gate):
        raise InputError(
            f"gate {verdict.gate!r}: expected lower-case letters, digits and underscores"
        )
    text = json.dumps(
        verdict.to_json(), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    data = (text + "\n").encode()
    name = f"verdicts/{verdict.version}/{verdict.gate}-{sha256_bytes(data)[:16]}.json"
    if key is not None and not write_once(store, f"{name}.hmac", _hmac(key, name, data), backoff):
        raise LookalikeError(f"{name}: a signature made with another key is there already")
    if not write_once(store, name, data, backoff):
        raise LookalikeError(f"{name}: holds another verdict already; verdicts are never changed")
    return name


def read(store: ObjectStore, version: str, key: bytes | None) -> list[Stored]:
    """Returns a version's verdicts, oldest first by the time that they name.

    One that cannot be read comes as a `fail` that says so: it is reported, never skipped and
    never taken for a pass.
    """
    prefix = f"verdicts/{check_version(version)}/"
    keys = {info.key for info in store.list(prefix)}
    stored = [
        _read_one(store, version, name, key, signed=f"{name}.hmac" in keys)
        for name in sorted(keys)
        if not name.endswith(".hmac")
    ]
    return sorted(stored, key=lambda entry: (entry.verdict.created, entry.key))


def _read_one(
    store: ObjectStore, version: str, name: str, key: bytes | None, *, signed: bool
) -> Stored:
    signature = "missing" if not signed else "unchecked"
    try:
        data, _ = store.read(name)
        verdict = Verdict.from_json(json.loads(data), source=name)
        if verdict.version != version:
            raise InputError(f"{name}: judges another version, {verdict.version!r}")
        gate = name.rsplit("/", 1)[1].split("-", 1)[0]
        if verdict.gate != gate:
            raise InputError(f"{name}: says it is of the gate {verdict.gate!r}")
        if signed and key is not None:
            expected = store.read(f"{name}.hmac")[0]
            valid = hmac.compare_digest(expected, _hmac(key, name, data))
            signature = "valid" if valid else "invalid"
    except (ValueError, TypeError, InputError, ObjectNotFoundError, ObjectStoreError) as error:
        return Stored(name, _unreadable(version, name, str(error)), False, "invalid")
    return Stored(name, verdict, True, signature)


def _unreadable(version: str, name: str, why: str) -> Verdict:
    reason = f"{name} cannot be read: {why}"
    return Verdict(
        gate=name.rsplit("/", 1)[1].split("-", 1)[0],
        status="fail",
        version=version,
        manifest_digest="",
        incumbent="",
        checks=(Check(name="readable", status="fail", reason=reason),),
        created="",
        writer="",
    )


def _hmac(key: bytes, name: str, data: bytes) -> bytes:
    # The name is signed too: a signed pass must not be copied under another version.
    message = name.encode() + b"\0" + data
    return hmac.new(key, message, hashlib.sha256).hexdigest().encode()
