"""The registry: bundles, the verdicts on them, and the channels that say what is live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from components.contracts.bundle import Manifest, check_version
from components.contracts.errors import InputError, LookalikeError
from components.contracts.verdict import Verdict
from components.registry import history, publish, rollback, swap, verdict_log
from components.registry.backoff import Backoff, write_once
from components.registry.channel import ChannelState, Move, check_channel, check_text
from components.registry.object_store import (
    ObjectNotFoundError,
    ObjectStore,
    open_store,
)
from components.registry.policy import Policy, parse_policy
from components.registry.swap import ConflictError, RefusedError
from components.registry.verdict_log import Stored

__all__ = ["ConflictError", "RefusedError", "Registry"]


@dataclass(frozen=True)
class Registry:
    """A registry in an object store.

    Attributes:
        store: Where everything is kept.
        backoff: How to wait when others write too, or the store is slow.
    """

    store: ObjectStore
    backoff: Backoff = field(default_factory=Backoff)

    @classmethod
    def open(cls, uri: str) -> Registry:
        """Opens a registry without touching it.

        Args:
            uri: A local path, `file:///path`, or `gs://bucket/prefix`.

        Raises:
            InputError: The URI cannot name a registry.
        """
        return cls(open_store(uri))

    @property
    def uri(self) -> str:
        """What a person typed to name the registry."""
        return self.store.uri

    # Bundles

    def publish_bundle(self, directory: Path) -> str:
        """Publishes a bundle and returns its version; see `publish.publish`."""
        return publish.publish(self.store, directory, self.backoff)

    def download_bundle(
        self, version: str, target: Path, *, paths: Sequence[str] | None = None
    ) -> Path:
        """Downloads a bundle, checked and whole; see `publish.download`."""
        return publish.download(self.store, version, target, paths=paths)

    def versions(self) -> list[str]:
        """Returns the published versions, the newest published last."""
        return [version for version, _ in self.published()]

    def published(self) -> list[tuple[str, float]]:
        """Returns (version, when published in seconds since 1970), the newest last."""
        found = [
            (info.key.split("/")[1], info.updated)
            for info in self.store.list("bundles/", name="manifest.json")
        ]
        return sorted(found, key=lambda entry: (entry[1], entry[0]))

    def has(self, version: str) -> bool:
        """Whether the version is published."""
        try:
            self.store.stat(publish.bundle_key(version))
        except ObjectNotFoundError:
            return False
        return True

    def manifest(self, version: str) -> tuple[Manifest, str]:
        """Returns a bundle's manifest and the manifest's SHA-256; see `publish.read_manifest`."""
        return publish.read_manifest(self.store, version)

    def verify(self, version: str, *, contents: bool = True) -> list[str]:
        """Returns what is wrong with a published bundle; see `publish.problems_of`."""
        return publish.problems_of(self.store, version, contents=contents)

    # Verdicts and policies

    def write_verdict(self, verdict: Verdict) -> str:
        """Writes a verdict once, signed when there is a verdict key; returns its key."""
        key = verdict_log.verdict_key_from_environment()
        return verdict_log.write(self.store, verdict, key, self.backoff)

    def keep_verdict(self, key: str, data: bytes) -> None:
        """Keeps a verdict, or its signature, that comes from another registry byte for byte.

        Raises:
            LookalikeError: Something else is kept under the key.
        """
        if not write_once(self.store, key, data, self.backoff):
            raise LookalikeError(f"{self.uri}: {key}: holds another verdict already")

    def verdicts(self, version: str) -> list[Verdict]:
        """Returns a version's verdicts, oldest first; one that cannot be read is a `fail`."""
        return [stored.verdict for stored in self.stored_verdicts(version)]

    def stored_verdicts(self, version: str) -> list[Stored]:
        """Returns a version's verdicts with their keys and signatures, oldest first."""
        return verdict_log.read(self.store, version, verdict_log.verdict_key_from_environment())

    def policy(self, channel: str) -> Policy:
        """Returns what the channel demands; the defaults when nobody has said anything.

        Raises:
            LookalikeError: There is a policy, and it cannot be read.
        """
        key = _policy_key(channel)
        try:
            data, _ = self.store.read(key)
        except ObjectNotFoundError:
            return Policy()
        return parse_policy(data, source=key)

    def set_policy(self, channel: str, policy: Policy, *, replace: bool = False) -> bool:
        """Writes a channel's policy.

        Args:
            channel: The channel.
            policy: Its demands.
            replace: Whether to overwrite one that is there.

        Returns:
            Whether the channel has this policy now; False when another one is there and stays.
        """
        key = _policy_key(channel)
        if replace:
            self.store.write(key, policy.to_bytes())
            return True
        return write_once(self.store, key, policy.to_bytes(), self.backoff)

    # Channels

    def channels(self) -> list[str]:
        """Returns the channels' names, sorted."""
        return swap.channel_names(self.store)

    def channel(self, name: str) -> ChannelState:
        """Returns what a channel says; one that does not exist has nothing live.

        Raises:
            ChannelError: Its object cannot be trusted.
        """
        return swap.read_state(self.store, name)

    def history(self, name: str) -> Iterator[Move]:
        """Yields a channel's whole history, newest first."""
        return history.entries(self.store, self.channel(name))

    def rollback_target(self, state: ChannelState) -> tuple[str, tuple[str, ...]]:
        """Returns what a rollback would bring back, and what it passes over and why.

        Returns:
            The version, empty when there is none; and one sentence for each version that was live
            before but is quarantined, missing or not whole.
        """
        return rollback.target(self.store, state)

    def move(
        self,
        channel: str,
        *,
        to: str,
        expected_from: str | None = None,
        kind: str = "promote",
        who: str,
        why: str,
        verdicts: Sequence[str] = (),
        forced: bool = False,
        checked: ChannelState | None = None,
    ) -> Move:
        """Moves a channel by one compare-and-swap. Checks no verdicts: `promote_candidate` does.

        Args:
            channel: The channel.
            to: The version to be live.
            expected_from: What must be live before, empty for nothing; None for whatever is live
                at the first look.
            kind: `promote` or `rollback`. A rollback quarantines what it leaves.
            who: The person or pipeline.
            why: The reason in words.
            verdicts: Keys of the verdicts that allow it.
            forced: Whether a person overrides the gates; a frozen channel takes only such.
            checked: A state on which the caller has found `to` fit since it read it, as
                `plan_rollback` does; spares asking again unless somebody was faster.

        Returns:
            The entry in the history.

        Raises:
            ConflictError: Something else is live; the message says who moved the channel.
            LookalikeError: The version is quarantined, missing or live already, or the channel
                frozen.
            InputError: A name or a reason cannot be one.
        """
        check_version(to)
        if kind not in ("promote", "rollback"):
            raise InputError(f"kind {kind!r}: expected promote or rollback")
        seen = [] if expected_from is None else [expected_from]

        def decide(state: ChannelState) -> str:
            if not seen:
                seen.append(state.live)
            if state.live != seen[0]:
                raise _conflict(state, seen[0])
            if state.live == to:
                raise RefusedError(f"channel {channel}: {to} is live already")
            if kind == "promote" and state.frozen and not forced:
                raise RefusedError(
                    f"channel {channel}: frozen by {state.frozen.who} since {state.frozen.when} "
                    f"({state.frozen.why}); `lookalike index unfreeze` ends that"
                )
            if state is not checked and (
                problem := rollback.unfit(self.store, state, to, whole=False)
            ):
                raise RefusedError(f"channel {channel}: not moved: {problem}")
            return to

        return swap.add_entry(
            self.store,
            check_channel(channel),
            kind="promote" if kind == "promote" else "rollback",
            who=check_text("who", who, limit=200),
            why=check_text("reason", why),
            decide=decide,
            verdicts=tuple(verdicts),
            forced=forced,
            state=checked,
            backoff=self.backoff,
        )

    def rollback(
        self, channel: str, *, who: str, why: str, to: str = "", expected_from: str | None = None
    ) -> Move:
        """Brings back what was live before, frozen or not, and quarantines what it leaves.

        Args:
            channel: The channel.
            who: The person.
            why: The reason in words.
            to: A version that was live on the channel before; empty for the latest such that is
                whole and not quarantined.
            expected_from: What must be live now; None for whatever is.

        Raises:
            LookalikeError: There is nothing to go back to, or `to` was never live here.
            ConflictError: Something else is live than expected.
        """
        state = self.channel(channel)
        target, _ = self.plan_rollback(state, to=to)
        return self.move(
            channel,
            to=target,
            expected_from=state.live if expected_from is None else expected_from,
            kind="rollback",
            who=who,
            why=why,
            checked=state,
        )

    def plan_rollback(self, state: ChannelState, *, to: str = "") -> tuple[str, tuple[str, ...]]:
        """Returns where a rollback would go, and what it passes over; see `rollback.plan`."""
        return rollback.plan(self.store, state, to=to)

    def freeze(self, channel: str, *, who: str, why: str) -> Move:
        """Takes no promotion any more until `unfreeze`, unless a person forces one."""
        return self._note(channel, "freeze", who, why)

    def unfreeze(self, channel: str, *, who: str, why: str) -> Move:
        """Takes promotions again."""
        return self._note(channel, "unfreeze", who, why)

    def quarantine(self, channel: str, version: str, *, who: str, why: str) -> Move:
        """Keeps a version from going live on the channel until it is released."""
        return self._note(channel, "quarantine", who, why, check_version(version))

    def release(self, channel: str, version: str, *, who: str, why: str) -> Move:
        """Ends a version's quarantine."""
        return self._note(channel, "release", who, why, check_version(version))

    def check_note(self, channel: str, kind: str, subject: str) -> None:
        """Raises what `freeze`, `quarantine` and so on would; changes nothing."""
        self._check_note(self.channel(channel), kind, subject)

    def _check_note(self, state: ChannelState, kind: str, subject: str) -> None:
        if subject:
            check_version(subject)
        if problem := _pointless(state, kind, subject):
            raise RefusedError(f"channel {state.name}: {problem}")
        if kind == "quarantine" and not self.has(subject):
            raise InputError(f"{self.uri}: there is no version {subject!r}")

    def _note(self, channel: str, kind: str, who: str, why: str, subject: str = "") -> Move:
        def decide(state: ChannelState) -> str:
            self._check_note(state, kind, subject)
            return state.live

        return swap.add_entry(
            self.store,
            check_channel(channel),
            kind=kind,  # type: ignore[arg-type]
            who=check_text("who", who, limit=200),
            why=check_text("reason", why),
            decide=decide,
            subject=subject,
            backoff=self.backoff,
        )


def _policy_key(channel: str) -> str:
    return f"policies/{check_channel(channel)}.json"


def _conflict(state: ChannelState, expected: str) -> ConflictError:
    moves = [move for move in state.held if move.kind in ("promote", "rollback")]
    by = f": {moves[0].sentence()}" if moves else ""
    return ConflictError(
        f"channel {state.name}: expected {expected or 'nothing'} to be live, but "
        f"{state.live or 'nothing'} is{by}; look at `lookalike index status` and decide anew"
    )


def _pointless(state: ChannelState, kind: str, subject: str) -> str:
    """Returns why a note would change nothing or do harm; empty when it is to be written."""
    if kind == "freeze" and state.frozen:
        return f"frozen already, by {state.frozen.who} since {state.frozen.when}"
    if kind == "unfreeze" and not state.frozen:
        return "not frozen"
    if kind == "quarantine" and subject in state.quarantine:
        return f"{subject} is quarantined already ({state.quarantine[subject].why})"
    if kind == "quarantine" and subject == state.live:
        return f"{subject} is live; `lookalike index rollback` leaves and quarantines it"
    if kind == "release" and subject not in state.quarantine:
        return f"{subject} is not quarantined"
    return ""
