"""Golds for one rater: the practice before live work, and those hidden in it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from components.human_eval.config import GateConfig
from components.human_eval.plan import Pair, Plan
from components.human_eval.raters import SIMILAR, youden
from components.human_eval.rating_records import Record

_ROUNDING = 1e-9


class Practice:
    """The pool of golds, and how a rater did on them."""

    def __init__(self, plan: Plan, config: GateConfig, rng: random.Random) -> None:
        """Sorts the plan's golds by their side of "similar".

        Args:
            plan: The sampling plan.
            config: The campaign's policy.
            rng: What mixes the golds.
        """
        self._config = config
        self._rng = rng
        self._golds: dict[str, Pair] = {gold.task_id: gold for gold in plan.golds}
        self._sides = {
            side: [task for task in self._golds if self.similar(task) == side]
            for side in (True, False)
        }
        self._half = (config.qualification_golds + 1) // 2
        self.size = sum(min(self._half, len(golds)) for golds in self._sides.values())
        self._given: Counter[str] = Counter()

    def note_answer(self, task: str) -> None:
        """Counts an answer to a gold."""
        self._given[task] += 1

    def similar(self, task: str) -> bool:
        """Returns whether a gold is similar or better."""
        return (self._golds[task].gold or 0) >= SIMILAR

    def right(self, record: Record) -> bool:
        """Returns whether an answer to a gold is on the right side of "similar"."""
        return record.grade is not None and (record.grade >= SIMILAR) == self.similar(
            record.task_id
        )

    def attempt(self, golds: Mapping[str, Record]) -> tuple[int, int]:
        """Returns the attempt at qualification, and how many of its golds are to be answered.

        Who fails the first may read the guidelines again and try once more, on other golds.

        Args:
            golds: The rater's answers to golds.
        """
        size = self.size
        mine = in_order(golds)
        if len(mine) < size:
            return 1, size - len(mine)
        if self.passed(mine[:size]):
            return 1, 0
        if min(len(pool) for pool in self._sides.values()) < 2 * self._half:
            return 1, 0
        return 2, max(0, 2 * size - len(mine))

    def passed(self, records: Sequence[Record]) -> bool:
        """Returns whether these answers are good enough."""
        return self._index(records) >= self._config.gold_youden - _ROUNDING

    def _index(self, records: Sequence[Record]) -> float:
        positive = np.array([self.similar(r.task_id) for r in records])
        # Not being able to tell a gold is a wrong answer, as the gate has it.
        said = np.array(
            [
                (r.grade >= SIMILAR) if r.grade is not None else not truth
                for r, truth in zip(records, positive, strict=True)
            ]
        )
        index = youden(said.astype(bool), positive.astype(bool)) if len(records) else None
        return -1.0 if index is None else index

    def score(self, golds: Mapping[str, Record], attempt: int) -> tuple[int, int]:
        """Returns how many golds of an attempt were right, and of how many."""
        mine = in_order(golds)[max(0, attempt - 1) * self.size : attempt * self.size]
        return sum(self.right(record) for record in mine), len(mine)

    def work(self, golds: Mapping[str, Record], answered: Collection[str]) -> list[str]:
        """Returns the golds that are left of a rater's attempt, both sides mixed."""
        half = self.attempt(golds)[0] * self._half
        work: list[str] = []
        for positive in (True, False):
            mine = sum(self.similar(task) == positive for task in golds)
            work.extend(self._pick(answered, work, positive, half - mine))
        self._rng.shuffle(work)
        return work

    def hide(self, live: Sequence[str], golds: Mapping[str, Record]) -> list[str]:
        """Returns live work with golds in it that the rater has not seen."""
        share = self._config.hidden_gold_share
        # The side that this rater has seen less of.
        due = 2 * sum(self.similar(task) for task in golds) <= len(golds)
        work: list[str] = []
        for task in live:
            # One gold to (1 - share) / share live pairs, at places that nobody can foresee.
            if self._rng.random() < share / (1.0 - share):
                work.extend(self._pick(golds, work, due, 1))
            work.append(task)
        return work

    def _pick(
        self, answered: Collection[str], taken: Sequence[str], positive: bool, most: int
    ) -> list[str]:
        """Returns golds that the rater has not seen, those first that lack few ratings.

        The label's quality is measured on golds with as many ratings as a live pair has; a gold
        with one rating measures nothing.
        """
        enough = self._config.ratings_per_pair
        fresh = [
            task for task in self._sides[positive] if task not in answered and task not in taken
        ]
        self._rng.shuffle(fresh)

        def due(task: str) -> tuple[bool, int]:
            given = self._given[task]
            return given >= enough, -given if given < enough else given

        return sorted(fresh, key=due)[: max(0, most)]


def in_order(golds: Mapping[str, Record]) -> list[Record]:
    """Returns a rater's answers to golds, oldest first."""
    return sorted(golds.values(), key=lambda record: record.at)
