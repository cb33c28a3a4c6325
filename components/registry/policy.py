"""What a channel demands of a bundle before it goes live: `policies/<channel>.json`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from components.contracts.errors import InputError, LookalikeError

SCHEMA = 1


@dataclass(frozen=True)
class Policy:
    """A channel's demands. The defaults hold for a channel without a policy.

    Attributes:
        needed_verdicts: The gates that must have passed the bundle.
        max_verdict_age_days: A verdict older than this has expired, in days.
        max_bundle_age_days: A bundle built longer ago than this is stale, in days.
        allow_simulated: Whether a verdict with simulated ratings counts; never for shoppers.
        same_incumbent: Whether a verdict that compared with a version counts only while that
            version is live.
        min_size_ratio: Items of the bundle over items of the incumbent must reach this: a
            half-empty catalog must not go live. 0 demands nothing.
        max_churn: Items that only one of bundle and incumbent has, over items that either has,
            may reach this. 1 demands nothing.
        max_inherited_change: Largest share of changed results with which a delta inherits the
            human verdict of the whole build that it came from; 0 never lets it, and people must
            judge the delta itself.
        writers: Who may write verdicts, by gate; a gate that is not named takes any writer.
        signed: Whether a verdict needs an HMAC made with the verdict key.
    """

    needed_verdicts: tuple[str, ...] = ("offline", "human")
    max_verdict_age_days: float = 14.0
    max_bundle_age_days: float = 30.0
    allow_simulated: bool = False
    same_incumbent: bool = True
    min_size_ratio: float = 0.8
    max_churn: float = 0.5
    max_inherited_change: float = 0.0
    writers: dict[str, tuple[str, ...]] | None = None
    signed: bool = False

    def __post_init__(self) -> None:
        """Refuses demands that could not mean what was meant."""
        if not self.needed_verdicts or len(set(self.needed_verdicts)) != len(self.needed_verdicts):
            raise InputError(
                "policy: needed_verdicts: expected at least one gate, each once; a channel "
                "that needs no verdict would take anything"
            )
        for name, low, high in (
            ("max_verdict_age_days", 0.0, math.inf),
            ("max_bundle_age_days", 0.0, math.inf),
            ("min_size_ratio", 0.0, 1.0),
            ("max_churn", 0.0, 1.0),
            ("max_inherited_change", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"policy: {name}: expected a number, received {value!r}")
            if not low <= value <= high or not math.isfinite(value):
                raise InputError(f"policy: {name}: expected {low:g} to {high:g}, received {value}")
        for name in ("allow_simulated", "same_incumbent", "signed"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(
                    f"policy: {name}: expected true or false, received {getattr(self, name)!r}"
                )

    def to_bytes(self) -> bytes:
        """Returns the object's content."""
        value = {"schema": SCHEMA, **asdict(self)}
        return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, value: object, *, source: str) -> Policy:
        """Reads the JSON form; fields that are left out keep their defaults.

        Raises:
            InputError: It is not an object, of another schema, or has unknown or impossible
                fields: a typing error must not switch a demand off.
        """
        if not isinstance(value, dict):
            raise InputError(f"{source}: expected a JSON object, received {type(value).__name__}")
        if value.get("schema") != SCHEMA:
            raise InputError(
                f"{source}: expected schema {SCHEMA}, received {value.get('schema')!r}; "
                "a newer lookalike may have written it"
            )
        given: dict[str, Any] = {key: entry for key, entry in value.items() if key != "schema"}
        known = [entry.name for entry in fields(cls)]
        if unknown := sorted(set(given) - set(known)):
            raise InputError(f"{source}: unknown field {unknown[0]!r}; expected {', '.join(known)}")
        if "needed_verdicts" in given:
            given["needed_verdicts"] = _names(source, "needed_verdicts", given["needed_verdicts"])
        if given.get("writers") is not None:
            if not isinstance(given["writers"], dict):
                raise InputError(f"{source}: writers: expected an object of lists by gate")
            given["writers"] = {
                gate: _names(source, f"writers.{gate}", names)
                for gate, names in given["writers"].items()
            }
        try:
            return cls(**given)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None


def parse_policy(data: bytes, *, source: str) -> Policy:
    """Reads a stored policy.

    Raises:
        LookalikeError: It cannot be read. A channel whose demands are unknown takes nothing.
    """
    try:
        return Policy.from_json(json.loads(data), source=source)
    except (ValueError, InputError) as error:
        raise LookalikeError(
            f"{error} (a channel with an unreadable policy takes nothing)"
        ) from None


def _names(source: str, name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(
        isinstance(entry, str) and entry for entry in value
    ):
        raise InputError(f"{source}: {name}: expected a list of names, received {value!r}")
    return tuple(value)
