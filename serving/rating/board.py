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
from components.human_eval.raters import SIMILAR, RaterReport
from components.human_eval.rating_records import CLOCK_SKEW, CORRECTION_WINDOW, Entry, Record
from components.human_eval.ratings import Rating
from serving.rating.fairness import keeps_last, left_to, raters_short
from serving.rating.practice import Practice
from serving.rating.standing import (
    BANNED,
    DONE,
    LIVE,
    NOT_ADMITTED,
    QUALIFYING,
    Progress,
    Totals,
)

STRETCH_GAP_S = 300.0
# Who has not answered for so long is not waited for.
_AT_WORK_S = 8 * 3600.0


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

    @property
    def live(self) -> int:
        """Answers to live pairs."""
        return len(self.answers) - len(self.golds)


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
        self._practice = Practice(plan, config, self._rng)
        self._listed: tuple[str, ...] | None = None
        self._labels = 0
        self._raters: dict[str, _Rater] = {}
        self._by_task: dict[str, dict[str, Record]] = {}
        self._graded: Counter[str] = Counter()
        self._unsure: Counter[str] = Counter()
        self._complete: set[str] = set()
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
            if before is None:
                self._practice.note_answer(task)
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
                self._labels += 1 if rater_id in counted else -1
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
        self._labels += sign * (task in self._place)
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
        passed = rater.veteran or self._practice.passed(list(rater.golds.values()))
        if not passed or rater.failed:
            return NOT_ADMITTED
        return DONE if rater.live >= self._quota else LIVE

    def _attempt(self, rater: _Rater) -> tuple[int, int]:
        """Returns the attempt at qualification, and how many of its golds are to be answered."""
        return (0, 0) if rater.veteran else self._practice.attempt(rater.golds)

    def gold_score(self, rater_id: str) -> tuple[int, int]:
        """Returns how many of the newest attempt's golds were right, and of how many."""
        rater = self._raters.get(rater_id)
        if rater is None:
            return 0, 0
        return self._practice.score(rater.golds, self._attempt(rater)[0])

    def right(self, record: Record) -> bool:
        """Returns whether an answer to a gold is on the right side of "similar"."""
        return self._practice.right(record)

    def progress(self, rater_id: str, *, now: float) -> Progress:
        """Returns how far a rater and the campaign are."""
        rater = self._raters.get(rater_id, _Rater())
        size = self._practice.size
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
        still = {task: self.needed(task) for task in self._order if task not in self._complete}
        return Totals(
            complete=len(self._complete),
            pairs=len(self._order),
            given=sum(len(rater.answers) for rater in self._raters.values()),
            needed=sum(still.values()),
            wanted=sum(self.needed(task) for task in self._list()),
            short=raters_short(
                still,
                {name: self._quota - rater.live for name, rater in self._live().items()},
                lambda name: self._raters[name].answers,
                counted=sum(rater.counted for rater in self._raters.values()),
                least=self.config.least_raters,
                quota=self._quota,
            ),
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
            return self._practice.work(rater.golds, rater.answers)
        if phase != LIVE:
            return []
        left = self._quota_now() - rater.live
        return self._practice.hide(
            self._open_tasks(rater_id, claims, max(0, min(size, left))), rater.golds
        )

    def take_list(self, tasks: Sequence[str] | None) -> None:
        """Takes in which pairs are worth rating now, the most urgent first; None for all."""
        self._listed = None if tasks is None else tuple(t for t in tasks if t in self._place)

    def worth_rating(self, task: str) -> bool:
        """Returns whether a task that was given out is still worth an answer; golds always are."""
        return self._listed is None or task not in self._place or task in self._listed

    def _list(self) -> Sequence[str]:
        return self._order if self._listed is None else self._listed

    def _quota_now(self) -> int:
        """Returns how many live ratings a rater may give for now.

        Rating may stop once the listed pairs are complete: nobody may have given too large a share
        of what there is then.
        """
        if self._listed is None:
            return self._quota
        soon = self._labels + sum(self.needed(task) for task in self._listed)
        return min(self._quota, max(1, int(self.config.most_rater_share * soon)))

    def _live(self) -> dict[str, _Rater]:
        """Returns the raters who may go on."""
        return {name: r for name, r in self._raters.items() if r.counted and r.live < self._quota}

    def _at_work(self) -> dict[str, int]:
        """Returns the live answers of those who may go on and have answered lately."""
        live = self._live()
        newest = max((rater.last_at for rater in live.values()), default=0.0)
        return {n: r.live for n, r in live.items() if r.last_at >= newest - _AT_WORK_S}

    def _open_tasks(self, rater_id: str, claims: Mapping[str, int], size: int) -> list[str]:
        """Returns the first open pairs of the list, mixed.

        The first, because only the contiguous completed beginning counts; mixed, because in the
        order itself results of the two systems stand next to each other.
        """
        rater = self._raters.get(rater_id, _Rater())
        tasks = self._list()
        others = left_to(
            rater_id, self._at_work(),
            each=self.config.ratings_per_pair, most_share=self.config.most_rater_share,
        )  # fmt: skip
        found: list[str] = []
        number = self._front if self._listed is None else 0
        while number < len(tasks) and len(found) < size:
            task = tasks[number]
            missing = self.needed(task) - claims.get(task, 0)
            if task in self._complete:
                self._front += self._listed is None and number == self._front
            elif (
                missing > 0
                and task not in rater.answers
                and rater_id not in self._earlier.get(task, ())
                and not keeps_last(task, missing, others, self._answered)
            ):
                found.append(task)
            number += 1
        self._rng.shuffle(found)
        return found

    def _answered(self, rater_id: str) -> Mapping[str, Record]:
        return self._raters[rater_id].answers
