"""A channel: what is live, how it came to be, and what must not come back.

All of it is one object, `channels/<name>.json`, so that one compare-and-swap moves the channel and
writes its history entry together. The order of the history is the order of its numbers, which
each writer takes from the entry before: no clock has a say in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from components.contracts.bundle import check_version
from components.contracts.errors import InputError, LookalikeError

SCHEMA = 1
KEPT = 50
"""The channel's object holds at least this many entries, and seals at twice as many."""

Kind = Literal["promote", "rollback", "freeze", "unfreeze", "quarantine", "release"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]")


class ChannelError(LookalikeError):
    """A channel's object cannot be trusted: nothing is moved until a person has looked."""


def check_channel(name: object) -> str:
    """Returns the name when a channel can have it.

    Raises:
        InputError: It is not made of letters, digits and hyphens.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"channel {name!r}: expected letters, digits and hyphens, at most 63, "
            "a letter or digit first"
        )
    return name


def check_text(name: str, text: str, *, limit: int = 2000) -> str:
    """Returns the text without surrounding spaces, for the audit trail.

    Raises:
        InputError: Nothing is left, it is too long, or it has control characters.
    """
    stripped = text.strip()
    if not stripped:
        raise InputError(f"{name}: expected some words, received nothing")
    if len(stripped) > limit:
        raise InputError(f"{name}: expected at most {limit} characters, received {len(stripped)}")
    if _CONTROL.search(stripped):
        raise InputError(f"{name}: expected one line of plain text, found a control character")
    return stripped


@dataclass(frozen=True)
class Move:
    """One entry of a channel's history.

    Attributes:
        id: Unique; by it a writer whose answer was lost finds out whether it won.
        number: 1 for the channel's first entry, then one more each.
        kind: What was done.
        who: The person or the pipeline that did it.
        when: Their clock, ISO 8601 in UTC; for people, never for order.
        previous: The version live before; empty for none. `from` in JSON.
        to: The version live after; the same as `previous` unless promoted or rolled back.
        why: The reason in words.
        verdicts: Keys of the verdicts that allowed a promotion.
        forced: Whether a person overrode the gates.
        subject: The version quarantined or released; empty for other kinds.
    """

    id: str
    number: int
    kind: Kind
    who: str
    when: str
    previous: str
    to: str
    why: str
    verdicts: tuple[str, ...] = ()
    forced: bool = False
    subject: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        value = asdict(self)
        value["from"] = value.pop("previous")
        value["verdicts"] = list(self.verdicts)
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Move:
        """Reads the JSON form; raises ValueError, TypeError or KeyError when it is not one."""
        given = {**value, "previous": value["from"], "verdicts": tuple(value["verdicts"])}
        del given["from"]
        move = cls(**given)
        if move.kind not in KINDS:
            raise ValueError(f"unknown kind {move.kind!r}")
        texts = (move.id, move.who, move.when, move.previous, move.to, move.why, move.subject)
        if not all(isinstance(text, str) for text in texts) or not isinstance(move.number, int):
            raise TypeError("a field of a history entry has another type")
        return move

    def sentence(self) -> str:
        """Returns the entry in words, for people."""
        what = {
            "promote": f"promoted {self.to}",
            "rollback": f"rolled back from {self.previous} to {self.to}",
            "freeze": "froze the channel",
            "unfreeze": "unfroze the channel",
            "quarantine": f"quarantined {self.subject}",
            "release": f"released {self.subject}",
        }[self.kind]
        forced = " by force" if self.forced else ""
        return f"{self.who} {what}{forced} at {self.when} ({self.why})"


@dataclass(frozen=True)
class Note:
    """Why a version is quarantined or a channel frozen.

    Attributes:
        who: Who did it.
        when: ISO 8601 in UTC.
        why: The reason in words.
    """

    who: str
    when: str
    why: str


@dataclass(frozen=True)
class Sealed:
    """The newest sealed segment of a channel's history.

    Attributes:
        segment: Its number, 1 for the first.
        sha256: Sum of its bytes, which hold the sum of the segment before: a hash chain.
        through: The number of the newest entry in it.
    """

    segment: int
    sha256: str
    through: int


@dataclass(frozen=True)
class ChannelState:
    """What a channel's object says.

    Attributes:
        name: The channel.
        live: The version that is live; empty when none has ever been.
        moves: The number of the newest entry; 0 for an empty channel.
        held: The newest entries, newest first; at least `KEPT` unless there are fewer at all.
        quarantine: Versions that must not come back until released.
        frozen: Why no automatic promotion is taken; None when they are.
        sealed: Where the older entries are; None when there are none.
        generation: The object's generation in the store; 0 when the channel does not exist.
    """

    name: str
    live: str = ""
    moves: int = 0
    held: tuple[Move, ...] = ()
    quarantine: dict[str, Note] = field(default_factory=dict)
    frozen: Note | None = None
    sealed: Sealed | None = None
    generation: int = 0

    @property
    def history(self) -> tuple[Move, ...]:
        """The newest 50 entries, newest first."""
        return self.held[:KEPT]

    def after(self, move: Move) -> ChannelState:
        """Returns the state with one more entry, which must follow from this state."""
        if move.previous != self.live or move.number != self.moves + 1:
            raise ValueError("the entry does not follow from the state")
        quarantine = dict(self.quarantine)
        frozen = self.frozen
        note = Note(move.who, move.when, move.why)
        if move.kind == "rollback":
            quarantine[move.previous] = note
        elif move.kind == "quarantine":
            quarantine[move.subject] = note
        elif move.kind == "release":
            quarantine.pop(move.subject, None)
        elif move.kind == "freeze":
            frozen = note
        elif move.kind == "unfreeze":
            frozen = None
        return replace(
            self,
            live=move.to,
            moves=move.number,
            held=(move, *self.held),
            quarantine=quarantine,
            frozen=frozen,
        )

    def to_bytes(self) -> bytes:
        """Returns the object's content."""
        value = {
            "schema": SCHEMA,
            "channel": self.name,
            "live": self.live,
            "moves": self.moves,
            "frozen": None if self.frozen is None else asdict(self.frozen),
            "quarantine": {version: asdict(note) for version, note in self.quarantine.items()},
            "sealed": None if self.sealed is None else asdict(self.sealed),
            "history": [move.to_json() for move in self.held],
        }
        return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def parse_state(name: str, data: bytes, generation: int) -> ChannelState:
    """Reads a channel's object.

    Raises:
        ChannelError: It is not JSON, of a newer schema, of another channel, or contradicts
            itself, as after an edit by hand.
    """
    key = f"channels/{name}.json"
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ChannelError(
            f"{key}: expected JSON, received something else ({error}); restore the object's "
            "last good version, then look at `lookalike index history`"
        ) from None
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        received = value.get("schema") if isinstance(value, dict) else type(value).__name__
        raise ChannelError(
            f"{key}: expected schema {SCHEMA}, received {received!r}; a newer lookalike may have "
            "written it: use that one"
        )
    try:
        state = ChannelState(
            name=str(value["channel"]),
            live=value["live"],
            moves=value["moves"],
            held=tuple(Move.from_json(entry) for entry in value["history"]),
            quarantine={
                check_version(version): Note(**note)
                for version, note in value["quarantine"].items()
            },
            frozen=None if value["frozen"] is None else Note(**value["frozen"]),
            sealed=None if value["sealed"] is None else Sealed(**value["sealed"]),
            generation=generation,
        )
        if state.live != "":
            check_version(state.live)
        problem = _contradiction(name, state)
    except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        raise ChannelError(
            f"{key}: {problem}; was it edited by hand? Restore the object's last good version"
        )
    return state


def _contradiction(name: str, state: ChannelState) -> str:
    if state.name != name:
        return f"it says that it is the channel {state.name!r}"
    if problem := check_chain(state.held, newest=state.moves):
        return problem
    oldest = state.held[-1].number if state.held else state.moves + 1
    through = state.sealed.through if state.sealed else 0
    if oldest != through + 1:
        return f"the history is sealed through {through}, but goes on with {oldest}"
    if state.live != (state.held[0].to if state.held else ""):
        return f"{state.live!r} is live, but the newest entry leads elsewhere"
    return ""


def check_chain(entries: Sequence[Move], *, newest: int) -> str:
    """Returns what is wrong with the order of entries (newest first); empty when nothing is."""
    expected = newest
    for index, entry in enumerate(entries):
        if entry.number != expected:
            return f"expected history entry {expected}, found {entry.number}"
        if index and entries[index - 1].previous != entry.to:
            return f"entry {entry.number} leads to {entry.to!r}, the next one starts elsewhere"
        expected -= 1
    return ""
