"""Comparisons with an earlier system, on the result slots that changed: the rest is known equal.

A comparison is one added and one removed result of a query, drawn with probability proportional to
traffic x number of changed slots. The panel holds such draws: where a random slot of a query
drawn by traffic shows an added result, query and result are so distributed, and the added result is
rated anyway. Independent draws fill the gaps, so that comparisons come at a steady pace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from components.human_eval.answers import Answer, Result
from components.human_eval.config import GateConfig
from components.human_eval.pairs import PairBook
from components.human_eval.panel import Drawn
from components.human_eval.plan import CANDIDATE, COMPARISON_PACE, INCUMBENT, WHOLE, Comparison


@dataclass(frozen=True)
class Change:
    """What changed in the results of one query.

    Attributes:
        query: The query as the candidate answers it.
        added: Results that only the candidate shows; None stands for a slot that it leaves empty
            where the earlier system showed something.
        removed: Results that only the earlier system shows, and that are still sold.
    """

    query: Answer
    added: tuple[Result | None, ...]
    removed: tuple[Result, ...]

    @property
    def slots(self) -> int:
        """How many slots changed. What is no longer sold counts neither way."""
        return min(len(self.added), len(self.removed))


@dataclass(frozen=True)
class Contest:
    """The comparison with one earlier system.

    Attributes:
        churn: Share of the result slots that changed, by traffic; None without common queries.
        coverage: Share of the traffic whose queries both have answered.
        comparisons: In the recorded order.
    """

    churn: float | None
    coverage: float
    comparisons: tuple[Comparison, ...]


def change_of(query: Answer, before: Answer, listed: Mapping[str, Result], results: int) -> Change:
    """Returns what changed between two answers to one query.

    Args:
        query: The candidate's answer.
        before: The earlier system's answer.
        listed: What is sold today, by item id, with today's picture.
        results: Slots of a page of results.
    """
    now_ids = {result.item_id for result in query.results}
    then_ids = {result.item_id for result in before.results}
    added = [result for result in query.results if result.item_id not in then_ids]
    removed = [
        listed[result.item_id]
        for result in before.results
        if result.item_id not in now_ids and result.item_id in listed
    ]
    vacant = max(0, results - len(query.results))
    gone = min(vacant, max(0, len(removed) - len(added)))
    return Change(query, (*added, *[None] * gone), tuple(removed))


def draw_contest(
    candidate: Mapping[str, Answer],
    before: Mapping[str, Answer],
    traffic: Mapping[str, float],
    listed: Mapping[str, Result],
    panel: Sequence[Drawn],
    book: PairBook,
    config: GateConfig,
    rng: np.random.Generator,
    *,
    margin: float,
) -> Contest:
    """Draws the comparisons with an earlier system.

    Args:
        candidate: Its answers by query id, unanswered queries with no results among them.
        before: The earlier system's answers to the same queries.
        traffic: Weight by query id.
        listed: What is sold today, by item id.
        panel: The drawn queries, in the recorded order.
        book: Gets the pairs.
        config: The policy.
        rng: Of every choice.
        margin: How much worse the candidate may be; at so small a churn nothing is compared.
    """
    changes: dict[str, Change] = {}
    common = everything = mass = 0.0
    for query_id in sorted(candidate):
        weight = traffic[query_id]
        everything += weight
        if query_id not in before:
            continue
        common += weight
        change = change_of(candidate[query_id], before[query_id], listed, config.results)
        if change.slots:
            changes[query_id] = change
            mass += weight * change.slots
    if common <= 0:
        return Contest(None, 0.0, ())
    churn, coverage = mass / (common * config.results), common / everything
    if mass <= 0 or churn <= margin:
        return Contest(churn, coverage, ())
    cap = config.cap_high_churn if churn > config.high_churn else config.cap_non_inferiority
    chosen = _spread(_from_panel(panel, changes, config.results, rng), changes, traffic, cap, rng)
    comparisons = []
    for change, added in chosen:
        removed = change.removed[rng.integers(len(change.removed))]
        task = "" if added is None else book.add(change.query, added, CANDIDATE)
        comparisons.append(
            Comparison(change.query.query_id, task, book.add(change.query, removed, INCUMBENT))
        )
    return Contest(churn, coverage, tuple(comparisons))


def _from_panel(
    panel: Sequence[Drawn], changes: Mapping[str, Change], results: int, rng: np.random.Generator
) -> dict[int, tuple[Change, Result | None]]:
    """Returns the comparisons that the panel holds, by the place among its draws of the whole."""
    found: dict[int, tuple[Change, Result | None]] = {}
    whole = (drawn for drawn in panel if drawn.stream == WHOLE)
    for place, drawn in enumerate(whole):
        slot = drawn.slots[rng.integers(len(drawn.slots))]
        luck = rng.random()
        change = changes.get(drawn.query.query_id)
        if change is None:
            continue
        shown = change.query.results
        added: Result | None = shown[slot] if slot < len(shown) else None
        if added not in change.added:
            continue
        accept = change.slots / len(change.added)
        if added is None:
            accept *= change.added.count(None) / (results - len(shown))
        if luck < accept:
            found[place] = (change, added)
    return found


def _spread(
    held: Mapping[int, tuple[Change, Result | None]],
    changes: Mapping[str, Change],
    traffic: Mapping[str, float],
    cap: int,
    rng: np.random.Generator,
) -> list[tuple[Change, Result | None]]:
    """Returns the panel's own comparisons with independent ones between them, at a steady pace."""
    names = sorted(changes)
    weights = np.array([traffic[name] * changes[name].slots for name in names])
    picks = iter(rng.choice(len(names), cap, p=weights / weights.sum()))
    chosen: list[tuple[Change, Result | None]] = []
    last = max(held, default=-1)
    place = 0
    while len(chosen) < cap:
        if place in held:
            chosen.append(held[place])
        elif place > last or len(chosen) * COMPARISON_PACE < place:
            change = changes[names[next(picks)]]
            chosen.append((change, change.added[rng.integers(len(change.added))]))
        place += 1
    return chosen
