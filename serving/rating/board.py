"""What is rated, by whom, and what each rater does next: a campaign in memory, fed by its log.

Nothing here touches the store. Everything follows from the plan, the policy, the records and the
owner's actions, so a server that was killed comes back to the same state.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from components.human_eval.config import GateConfig
from components.human_eval.owner_actions import Actions
from components.human_eval.plan import Pair, Plan
from components.human_eval.raters import SIMILAR, RaterReport, youden
from components.human_eval.rating_records import CLOCK_SKEW, CORRECTION_WINDOW, Entry, Record
from components.human_eval.ratings import Rating

STRETCH_GAP_S = 300.0
_ROUNDING = 1e-9
# Phases of a rater.
QUALIFYING, LIVE, NOT_ADMITTED, BANNED, DONE = (
    "qualifying",
    "live",
    "not admitted",
    "banned",
    "done",
)


@dataclass
class _Rater:
    """What is known of one rater."""

    answers: dict[str, Record] = field(default_factory=dict)
    golds: dict[str, Record] = field(default_factory=dict)
    counted: bool = False
    failed: bool = False
    veteran: bool = False
    last: Record | None = None
    last_at: float = 0.0
    stretch_from: float = 0.0


@dataclass(frozen=True)
class Progress:
    """How far a rater and the campaign are.

    Attributes:
        phase: `qualifying`, `live`, `not admitted`, `banned` or `done`.
        qualified: Golds answered of this attempt.
        qualification: Golds of an attempt.
        attempt: 1; 2 for who tries again; 0 for who has qualified in an earlier campaign.
        rated: Answers to live work, hidden golds among them: nobody is told which these are.
        complete: Live pairs that need no more ratings.
        pairs: Live pairs.
        stretch_s: Seconds since this rater's last longer pause.
    """

    phase: str
    qualified: int
    qualification: int
    attempt: int
    rated: int
    complete: int
    pairs: int
    stretch_s: float


@dataclass(frozen=True)
class Totals:
    """What the owner's page counts.

    Attributes:
        complete: Live pairs that need no more ratings.
        pairs: Live pairs.
        given: Answers so far.
        needed: Counted ratings that live pairs still need.
        reports: What the newest comparison of the raters said.
        set_aside: Records that do not count, by reason.
    """

    complete: int
    pairs: int
    given: int
    needed: int
    reports: tuple[RaterReport, ...]
    set_aside: dict[str, int]


def _correction(before: Record, record: Record, when: datetime) -> str:
    """Returns what a second record of one answer is; see `rating_records.countable`."""
    if before == record:
        return ""
    gap = when - datetime.fromisoformat(before.at)
    if record.revision == before.revision:
        return "doubled"
    if record.revision < before.revision:
        return "corrected_before"
    if gap > CORRECTION_WINDOW:
        return "late_correction"
    return "out_of_clock_order" if gap.total_seconds() < 0 else "corrected"


class Board:
    """The state of one campaign. Not safe among threads: its desk holds a lock."""

    def __init__(
        self,
        plan: Plan,
        config: GateConfig,
        *,
        campaign: str,
        created: datetime,
        allow_simulated: bool,
        earlier: Iterable[Rating] = (),
        rng: random.Random | None = None,
    ) -> None:
        """Makes the board of a campaign nobody has rated yet.

        Args:
            plan: The sampling plan.
            config: The campaign's policy.
            campaign: Its id.
            created: When it was made.
            allow_simulated: Whether simulated raters may take part.
            earlier: What earlier campaigns' raters have said of these pairs, where it counts.
            rng: What mixes the work.
        """
        self.plan = plan
        self.config = config
        self.campaign = campaign
        self.allow_simulated = allow_simulated
        self.pairs: dict[str, Pair] = {pair.task_id: pair for pair in plan.pairs}
        self.set_aside: Counter[str] = Counter()
        self.actions = Actions()
        self._earliest = created - CLOCK_SKEW
        self._rng = rng or random.Random()  # noqa: S311 - it mixes work, it keeps no secret.
        self._order = plan.recorded_tasks()
        self._place = {task: number for number, task in enumerate(self._order)}
        self._front = 0
        self._sides = {
            side: [g.task_id for g in plan.golds if ((g.gold or 0) >= SIMILAR) == side]
            for side in (True, False)
        }
        half = (config.qualification_golds + 1) // 2
        self._half = half
        self._size = sum(min(half, len(golds)) for golds in self._sides.values())
        self._raters: dict[str, _Rater] = {}
        self._by_task: dict[str, dict[str, Record]] = {}
        self._graded: Counter[str] = Counter()
        self._unsure: Counter[str] = Counter()
        self._complete: set[str] = set()
        self._gold_answers: Counter[str] = Counter()
        self._earlier: dict[str, dict[str, int | None]] = {}
        for rating in earlier:
            if rating.task_id in self._place:
                self._earlier.setdefault(rating.task_id, {})[rating.rater_id] = rating.grade
        self._earlier_counted: frozenset[str] = frozenset()
        most = config.most_rater_share * config.ratings_per_pair * len(self._order)
        self._quota = max(1, int(most))
        self._reports: tuple[RaterReport, ...] = ()

    # What comes in.

    def apply(self, entries: Iterable[Entry]) -> None:
        """Takes in what the log holds; the same record again changes nothing."""
        for entry in sorted(entries, key=lambda entry: entry.record.at if entry.record else ""):
            reason = entry.reason if entry.record is None else self._apply(entry.record)
            if reason:
                self.set_aside[reason] += entry.count

    def _apply(self, record: Record) -> str:
        """Returns why a record does not count, or what it replaced; empty for a plain answer."""
        when = datetime.fromisoformat(record.at)
        checks = (
            (record.campaign != self.campaign, "other_campaign"),
            (record.task_id not in self.pairs, "unknown_task"),
            (record.simulated and not self.allow_simulated, "simulated"),
            (when < self._earliest, "out_of_clock_order"),
        )
        for bad, reason in checks:
            if bad:
                return reason
        before = self._by_task.get(record.task_id, {}).get(record.rater_id)
        reason = _correction(before, record, when) if before is not None else ""
        if reason in ("", "corrected") and before != record:
            self._count(record, before, when.timestamp())
        return reason

    def _count(self, record: Record, before: Record | None, at: float) -> None:
        rater = self._raters.setdefault(record.rater_id, _Rater())
        task = record.task_id
        if rater.counted and before is not None:
            self._add(before, -1)
        self._by_task.setdefault(task, {})[record.rater_id] = record
        rater.answers[task] = record
        gold = self.pairs[task].gold is not None
        if gold:
            rater.golds[task] = record
            self._gold_answers[task] += before is None
        if rater.counted:
            self._add(record, +1)
        if at - rater.last_at > STRETCH_GAP_S:
            rater.stretch_from = at
        rater.last_at = max(rater.last_at, at)
        rater.last = record
        if gold:
            self._settle(record.rater_id)

    def set_actions(self, actions: Actions) -> None:
        """Takes in what the owner did: who is banned, what is issued again."""
        changed = set(actions.extra).symmetric_difference(self.actions.extra)
        self.actions = actions
        for rater_id in list(self._raters):
            self._settle(rater_id)
        self._count_earlier(self._earlier_counted.difference(actions.banned))
        for task in changed:
            self._check_complete(task)

    def ratings(self) -> list[Rating]:
        """Returns the answers of all who are not banned, for the gate's own screening."""
        return [
            record.rating()
            for rater_id, rater in self._raters.items()
            if rater_id not in self.actions.banned
            for record in rater.answers.values()
        ]

    def take_reports(self, reports: Sequence[RaterReport]) -> None:
        """Takes in what the gate's screening says of the raters, earlier ones included."""
        self._reports = tuple(reports)
        counted = frozenset(r.rater_id for r in reports if r.standing == "counted")
        for report in reports:
            rater_id = report.rater_id
            if rater_id not in self._raters and report.standing == "counted":
                # The golds of earlier campaigns still count for them.
                self._raters[rater_id] = _Rater(veteran=True)
            if rater_id in self._raters:
                rater = self._raters[rater_id]
                rater.failed = report.standing == "banned_peers" or (
                    rater.veteran and report.standing == "banned_golds"
                )
                self._settle(rater_id)
        self._count_earlier(counted.difference(self.actions.banned))

    def _count_earlier(self, counted: frozenset[str]) -> None:
        """Counts what earlier raters said, as long as their labels count."""
        changed = counted ^ self._earlier_counted
        self._earlier_counted = counted
        for task, grades in self._earlier.items():
            for rater_id in changed.intersection(grades):
                kind = self._unsure if grades[rater_id] is None else self._graded
                kind[task] += 1 if rater_id in counted else -1
            self._check_complete(task)

    def _settle(self, rater_id: str) -> None:
        """Lets a rater's labels count, or count no longer: then they are issued again."""
        rater = self._raters[rater_id]
        counts = self.phase(rater_id) in (LIVE, DONE)
        if counts != rater.counted:
            rater.counted = counts
            for record in rater.answers.values():
                self._add(record, 1 if counts else -1)

    def _add(self, record: Record, sign: int) -> None:
        task = record.task_id
        (self._unsure if record.grade is None else self._graded)[task] += sign
        self._check_complete(task)

    def _check_complete(self, task: str) -> None:
        if task not in self._place:
            return
        if self.needed(task):
            self._complete.discard(task)
            self._front = min(self._front, self._place[task])
        else:
            self._complete.add(task)

    # What it says.

    def needed(self, task: str) -> int:
        """Returns the counted ratings that a live pair still needs."""
        wanted = self.config.ratings_per_pair + self.actions.extra.get(task, 0)
        if self._unsure[task]:
            wanted += self.config.cant_tell_extra
        return max(0, wanted - self._graded[task] - self._unsure[task])

    def answer(self, rater_id: str, task: str) -> Record | None:
        """Returns a rater's answer to a task, as it counts."""
        return self._by_task.get(task, {}).get(rater_id)

    def last_answer(self, rater_id: str) -> Record | None:
        """Returns a rater's newest answer."""
        rater = self._raters.get(rater_id)
        return rater.last if rater else None

    def phase(self, rater_id: str) -> str:
        """Returns where a rater stands; see `Progress.phase`."""
        if rater_id in self.actions.banned:
            return BANNED
        rater = self._raters.get(rater_id)
        if rater is None or self._attempt(rater)[1] > 0:
            return QUALIFYING
        passed = rater.veteran or self._gold_index(list(rater.golds.values())) >= (
            self.config.gold_youden - _ROUNDING
        )
        if not passed or rater.failed:
            return NOT_ADMITTED
        return DONE if len(rater.answers) - len(rater.golds) >= self._quota else LIVE

    def _attempt(self, rater: _Rater) -> tuple[int, int]:
        """Returns the attempt at qualification, and how many of its golds are to be answered.

        Who fails the first may read the guidelines again and try once more, on other golds.
        """
        if rater.veteran:
            return 0, 0
        size = self._size
        mine = sorted(rater.golds.values(), key=lambda record: record.at)
        if len(mine) < size:
            return 1, size - len(mine)
        if self._gold_index(mine[:size]) >= self.config.gold_youden - _ROUNDING:
            return 1, 0
        if min(len(golds) for golds in self._sides.values()) < 2 * self._half:
            return 1, 0
        return 2, max(0, 2 * size - len(mine))

    def _gold_index(self, records: Sequence[Record]) -> float:
        positive = np.array([(self.pairs[r.task_id].gold or 0) >= SIMILAR for r in records])
        # Not being able to tell a gold is a wrong answer, as the gate has it.
        said = np.array(
            [
                (r.grade >= SIMILAR) if r.grade is not None else not truth
                for r, truth in zip(records, positive, strict=True)
            ]
        )
        index = youden(said.astype(bool), positive.astype(bool)) if len(records) else None
        return -1.0 if index is None else index

    def gold_score(self, rater_id: str) -> tuple[int, int]:
        """Returns how many of the newest attempt's golds were right, and of how many."""
        rater = self._raters.get(rater_id)
        if rater is None:
            return 0, 0
        attempt, _ = self._attempt(rater)
        mine = sorted(rater.golds.values(), key=lambda record: record.at)
        mine = mine[max(0, attempt - 1) * self._size : attempt * self._size]
        return sum(self.right(record) for record in mine), len(mine)

    def right(self, record: Record) -> bool:
        """Returns whether an answer to a gold is on the right side of "similar"."""
        gold = self.pairs[record.task_id].gold or 0
        return record.grade is not None and (record.grade >= SIMILAR) == (gold >= SIMILAR)

    def progress(self, rater_id: str, *, now: float) -> Progress:
        """Returns how far a rater and the campaign are."""
        rater = self._raters.get(rater_id, _Rater())
        size = self._size
        attempt, left = self._attempt(rater)
        live = max(0, len(rater.answers) - attempt * size)
        resting = now - rater.last_at > STRETCH_GAP_S
        return Progress(
            phase=self.phase(rater_id),
            qualified=size - left,
            qualification=size,
            attempt=attempt,
            rated=live,
            complete=len(self._complete),
            pairs=len(self._order),
            stretch_s=0.0 if resting else rater.last_at - rater.stretch_from,
        )

    def answers_of(self, rater_id: str) -> int:
        """Returns how many answers a rater has given."""
        return len(self._raters[rater_id].answers) if rater_id in self._raters else 0

    def totals(self) -> Totals:
        """Returns what the owner's page counts."""
        return Totals(
            complete=len(self._complete),
            pairs=len(self._order),
            given=sum(len(rater.answers) for rater in self._raters.values()),
            needed=sum(self.needed(task) for task in self._order if task not in self._complete),
            reports=self._reports,
            set_aside=dict(self.set_aside),
        )

    def disputed(self, most: int) -> list[tuple[Pair, list[Record]]]:
        """Returns the live pairs on which counted raters differ most, with their answers."""
        found: list[tuple[float, str, list[Record]]] = []
        for task in self._order:
            records = [
                record
                for rater_id, record in self._by_task.get(task, {}).items()
                if self._raters[rater_id].counted
            ]
            grades = [record.grade for record in records if record.grade is not None]
            if len(grades) < 2 or max(grades) - min(grades) < 2:
                continue
            # A split over the line that is counted matters more than one far from it.
            similar = sum(grade >= SIMILAR for grade in grades) / len(grades)
            found.append((float(np.std(grades)) + min(similar, 1 - similar), task, records))
        found.sort(key=lambda entry: (-entry[0], entry[1]))
        return [(self.pairs[task], records) for _, task, records in found[:most]]

    # What is given out.

    def work(self, rater_id: str, claims: Mapping[str, int], size: int) -> list[str]:
        """Returns what a rater does next: golds to qualify, or live pairs with golds hidden.

        Args:
            rater_id: Who.
            claims: How many other raters hold each task at the moment.
            size: Live pairs to give out at once.
        """
        rater = self._raters.get(rater_id, _Rater())
        phase = self.phase(rater_id)
        if phase == QUALIFYING:
            return self._qualification(rater)
        if phase != LIVE:
            return []
        left = self._quota - (len(rater.answers) - len(rater.golds))
        live = self._open_tasks(rater_id, claims, min(size, left))
        share = self.config.hidden_gold_share
        work: list[str] = []
        for task in live:
            # One gold to (1 - share) / share live pairs, at places that nobody can foresee.
            if self._rng.random() < share / (1.0 - share):
                work.extend(self._pick_golds(rater, work, self._side_due(rater), 1))
            work.append(task)
        return work

    def _open_tasks(self, rater_id: str, claims: Mapping[str, int], size: int) -> list[str]:
        """Returns the first open pairs of the recorded order, mixed.

        The first, because only the contiguous completed beginning counts; mixed, because in the
        order itself results of the two systems stand next to each other.
        """
        rater = self._raters.get(rater_id, _Rater())
        found: list[str] = []
        number = self._front
        while number < len(self._order) and len(found) < size:
            task = self._order[number]
            if task in self._complete:
                self._front += number == self._front
            elif (
                task not in rater.answers
                and rater_id not in self._earlier.get(task, ())
                and self.needed(task) > claims.get(task, 0)
            ):
                found.append(task)
            number += 1
        self._rng.shuffle(found)
        return found

    def _qualification(self, rater: _Rater) -> list[str]:
        attempt, _ = self._attempt(rater)
        half = attempt * self._half
        work: list[str] = []
        for positive in (True, False):
            mine = sum(
                ((self.pairs[task].gold or 0) >= SIMILAR) == positive for task in rater.golds
            )
            work.extend(self._pick_golds(rater, work, positive, half - mine))
        self._rng.shuffle(work)
        return work

    def _side_due(self, rater: _Rater) -> bool:
        positives = sum((self.pairs[task].gold or 0) >= SIMILAR for task in rater.golds)
        return 2 * positives <= len(rater.golds)

    def _pick_golds(
        self, rater: _Rater, taken: Sequence[str], positive: bool, most: int
    ) -> list[str]:
        """Returns golds that the rater has not seen, those first that lack few ratings.

        The label's quality is measured on golds with as many ratings as a live pair has; a gold
        with one rating measures nothing.
        """
        enough = self.config.ratings_per_pair
        fresh = [
            task
            for task in self._sides[positive]
            if task not in rater.answers and task not in taken
        ]
        self._rng.shuffle(fresh)

        def due(task: str) -> tuple[bool, int]:
            given = self._gold_answers[task]
            return given >= enough, -given if given < enough else given

        return sorted(fresh, key=due)[: max(0, most)]
