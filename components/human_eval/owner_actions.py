"""What a campaign's owner did: bans and re-issues, numbered, written once, never changed.

```
campaigns/<channel>/<campaign>/actions/00000001.json
```

A ban sets all of a rater's ratings aside, so that what they rated is issued again; lifting it is
another action. Re-issuing a disputed pair asks for more ratings of it. All of it is on record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from components.contracts.errors import InputError, LookalikeError
from components.human_eval.rating_records import timestamp
from components.registry.backoff import Backoff, write_once
from components.registry.object_store import ObjectNotFoundError, ObjectStore

SCHEMA = 1
FOLDER = "actions/"
BAN, LIFT, REISSUE = "ban", "lift", "reissue"
REISSUED_RATINGS = 2
_FIELDS = frozenset(("schema", "action", "subject", "by", "reason", "at"))
_LONGEST = 200


@dataclass(frozen=True)
class Action:
    """One thing that the owner did.

    Attributes:
        action: `ban` or `lift` a rater, or `reissue` a task.
        subject: The rater's id, or the task's.
        by: Who did it.
        reason: Why, in words.
        at: When: ISO 8601 in UTC.
    """

    action: str
    subject: str
    by: str
    reason: str
    at: str


@dataclass(frozen=True)
class Actions:
    """Everything that the owner did, and what follows from it.

    Attributes:
        entries: In order.
        banned: The raters who are banned now, with the reason.
        extra: Ratings wanted beyond the policy's, by task.
        problems: Actions that cannot be read; a campaign with one must not pass.
    """

    entries: tuple[Action, ...] = ()
    banned: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, entries: Sequence[Action], problems: Sequence[str] = ()) -> Actions:
        """Works out who is banned and what is issued again."""
        banned: dict[str, str] = {}
        extra: dict[str, int] = {}
        for entry in entries:
            if entry.action == BAN:
                banned[entry.subject] = entry.reason
            elif entry.action == LIFT:
                banned.pop(entry.subject, None)
            else:
                extra[entry.subject] = REISSUED_RATINGS
        return cls(tuple(entries), banned, extra, tuple(problems))


def read_actions(store: ObjectStore, prefix: str) -> Actions:
    """Reads the owner's actions.

    Args:
        store: The registry's store.
        prefix: The campaign's, such as `campaigns/prod/1f2e.../`.
    """
    entries: list[Action] = []
    problems: list[str] = []
    keys = sorted(info.key for info in store.list(f"{prefix}{FOLDER}"))
    for number, key in enumerate(keys, start=1):
        try:
            data = store.read(key)[0]
        except ObjectNotFoundError:
            data = b""
        action = _parse(data)
        if action is None or not key.endswith(f"/{number:08d}.json"):
            problems.append(f"the owner's action {key.removeprefix(prefix)} cannot be read")
        else:
            entries.append(action)
    return Actions.of(entries, problems)


def record_action(
    store: ObjectStore,
    prefix: str,
    *,
    action: str,
    subject: str,
    by: str,
    reason: str,
    now: datetime,
    backoff: Backoff | None = None,
) -> Action:
    """Writes one action under the next free number.

    Raises:
        InputError: It is none of the known actions, or a text is empty or too long.
    """
    if action not in (BAN, LIFT, REISSUE):
        raise InputError(f"action: expected {BAN}, {LIFT} or {REISSUE}, received {action[:50]!r}")
    for name, text in (("subject", subject), ("by", by), ("reason", reason)):
        if not text or len(text) > _LONGEST or not text.isprintable():
            raise InputError(
                f"{name}: expected 1 to {_LONGEST} printable characters, received {text[:50]!r}"
            )
    entry = Action(action, subject, by, reason, timestamp(now))
    value = {"schema": SCHEMA, **asdict(entry)}
    data = json.dumps(value, sort_keys=True).encode() + b"\n"
    number = sum(1 for _ in store.list(f"{prefix}{FOLDER}"))
    for _ in range(1000):
        number += 1
        if write_once(store, f"{prefix}{FOLDER}{number:08d}.json", data, backoff or Backoff()):
            return entry
    raise LookalikeError("the owner's action could not be recorded: its number is always taken")


def _parse(data: bytes) -> Action | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    if not isinstance(value, dict) or set(value) != _FIELDS or value["schema"] != SCHEMA:
        return None
    texts: Sequence[object] = [value[name] for name in ("action", "subject", "by", "reason", "at")]
    if not all(isinstance(text, str) for text in texts) or value["action"] not in (
        BAN,
        LIFT,
        REISSUE,
    ):
        return None
    return Action(*(str(text) for text in texts))
