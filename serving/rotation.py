"""Who answers, who rests, and whose turn it is to load a bundle.

ScaNN's constructor holds Python's interpreter lock from beginning to end: seconds for a large
index, in which a process answers nobody. So one worker more than is needed stands by. It loads a
new bundle while it rests, takes the place of one that answers, and that one rests and loads in
its turn, until all of them have it; the last one stands by for the next time. When a worker dies,
the one that stands by answers at once.

Only decisions are made here, from what the workers tell; `serving.workers` carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class State(Enum):
    """What a worker does."""

    STARTING = "starting"
    ANSWERING = "answering"
    RESTING = "resting"


@dataclass(frozen=True)
class Command:
    """What a worker is to do.

    Attributes:
        worker: Its number.
        kind: `accept`: answer from now on; `load`: rest, and load what it asked for; `refuse`: do
            not load it; `again`: ask once more for what was refused.
        channel: The channel that it asked for.
        reason: Why it is refused.
    """

    worker: int
    kind: str
    channel: str = ""
    reason: str = ""


@dataclass
class _Worker:
    state: State
    # Accepts connections, or will from its start.
    accepts: bool
    has: dict[str, str] = field(default_factory=dict)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)


class Rotation:
    """The workers of one server, one of which stands by."""

    def __init__(self, answering: int) -> None:
        """Begins without a worker.

        Args:
            answering: How many are to answer.
        """
        self._answering = answering
        self._workers: dict[int, _Worker] = {}
        self._loads: int | None = None
        # Who asks for which version of which channel, in the order of asking.
        self._asks: dict[tuple[int, str], str] = {}
        self._refused: set[tuple[int, str, str]] = set()

    def started(self, worker: int) -> bool:
        """Notes that a worker is being started.

        Returns:
            Whether it accepts from its start: so probes hear at once that it is alive. Where others
            answer it waits until it can answer, too.
        """
        answered = any(one.state is State.ANSWERING for one in self._workers.values())
        accepting = sum(one.accepts for one in self._workers.values())
        accepts = not answered and accepting < self._answering
        self._workers[worker] = _Worker(State.STARTING, accepts)
        return accepts

    def ready(self, worker: int) -> list[Command]:
        """Notes that a worker has its first bundle."""
        one = self._workers[worker]
        one.state = State.ANSWERING if one.accepts else State.RESTING
        return self._decide()

    def has(self, worker: int, channel: str, version: str) -> list[Command]:
        """Notes that a worker has put a version in place."""
        one = self._workers[worker]
        one.has[channel] = version
        one.failed.pop(channel, None)
        again = [asked for asked in self._refused if asked[1:] == (channel, version)]
        self._refused.difference_update(again)
        commands = [Command(number, "again", channel) for number, _, _ in sorted(again)]
        return [command for command in commands if command.worker != worker] + self._decide()

    def failed(self, worker: int, channel: str, version: str, reason: str) -> list[Command]:
        """Notes that a worker could not load a version."""
        self._workers[worker].failed[channel] = (version, reason)
        return self._decide()

    def asks(self, worker: int, channel: str, version: str) -> list[Command]:
        """Notes that a worker wants to load a version."""
        # It tries again, so its last failure says nothing any more.
        self._workers[worker].failed.pop(channel, None)
        self._refused.discard((worker, channel, version))
        self._asks[worker, channel] = version
        return self._decide()

    def gives_up(self, worker: int, channel: str) -> list[Command]:
        """Notes that a worker no longer wants to load what it asked for."""
        self._asks.pop((worker, channel), None)
        return self._decide()

    def done(self, worker: int) -> list[Command]:
        """Notes that a worker's turn is over, however it went."""
        if self._loads == worker:
            self._loads = None
        return self._decide()

    def gone(self, worker: int) -> list[Command]:
        """Notes that a worker has died; another one is started in its place."""
        del self._workers[worker]
        if self._loads == worker:
            self._loads = None
        self._asks = {asked: value for asked, value in self._asks.items() if asked[0] != worker}
        self._refused = {asked for asked in self._refused if asked[0] != worker}
        return self._decide()

    def states(self) -> dict[int, State]:
        """Returns what each worker does."""
        return {number: worker.state for number, worker in self._workers.items()}

    def _decide(self) -> list[Command]:
        return self._fill() + self._next_turn()

    def _fill(self) -> list[Command]:
        """Lets the one that stands by answer where too few do, even while it loads.

        It answers late then, from time to time; that is better than not at all.
        """
        accepting = sum(one.accepts for one in self._workers.values())
        spare = self._spare()
        if accepting >= self._answering or spare is None:
            return []
        self._accept(spare)
        return [Command(spare, "accept")]

    def _next_turn(self) -> list[Command]:
        spare = self._spare()
        if self._loads is not None or spare is None:
            return []
        own = next((asked for asked in self._asks if asked[0] == spare), None)
        if own is not None:
            return [self._turn(own)]
        commands = []
        for asked, version in list(self._asks.items()):
            worker, channel = asked
            if self._workers[worker].state is not State.ANSWERING:
                continue
            failed, reason = self._workers[spare].failed.get(channel, ("", ""))
            if failed == version:
                del self._asks[asked]
                self._refused.add((worker, channel, version))
                commands.append(Command(worker, "refuse", channel, reason))
            elif self._workers[spare].has.get(channel) == version:
                self._accept(spare)
                self._workers[worker].state = State.RESTING
                self._workers[worker].accepts = False
                return [*commands, Command(spare, "accept"), self._turn(asked)]
            # Else the one that stands by comes first, and has not heard of it yet.
        return commands

    def _turn(self, asked: tuple[int, str]) -> Command:
        del self._asks[asked]
        self._loads = asked[0]
        return Command(asked[0], "load", asked[1])

    def _accept(self, worker: int) -> None:
        self._workers[worker].state = State.ANSWERING
        self._workers[worker].accepts = True

    def _spare(self) -> int | None:
        """Returns the one that stands by; None while none is ready."""
        resting = (number for number, one in self._workers.items() if one.state is State.RESTING)
        return next(resting, None)
