"""Which queries are judged, in which order: drawn by traffic, and carried over from day to day.

A panel that stays lets the judgements of yesterday count today. A tenth of it is drawn afresh, and
where the traffic has changed, a query stays with the probability that makes the whole panel a
sample of today's traffic again (a maximal coupling of the two distributions): nothing hangs on what
the raters said of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.human_eval.answers import Answer
from components.human_eval.config import GateConfig
from components.human_eval.plan import WHOLE, Plan

Floats = npt.NDArray[np.float64]
# One draw for each guarded department after so many of the whole. The whole, whose bar is nearer,
# needs the more queries and feeds the departments on the way: this pace cost the fewest pairs.
_DEPARTMENT_PACE = 16


@dataclass(frozen=True)
class Drawn:
    """One drawn query.

    Attributes:
        query: The query with its results.
        stream: `WHOLE`, or the department that it was drawn for in addition.
        slots: The result slots to be rated, from 0, ascending.
    """

    query: Answer
    stream: str
    slots: tuple[int, ...]


@dataclass(frozen=True)
class Population:
    """The queries that a panel is drawn from.

    Attributes:
        queries: In one fixed order.
        weights: float64 [queries]: share of the traffic, summing to 1.
        departments: By query id.
        guarded: The departments with a stream of their own.
    """

    queries: Sequence[Answer]
    weights: Floats
    departments: Mapping[str, str]
    guarded: Sequence[str]

    def stream_weights(self, stream: str) -> Floats:
        """Returns the distribution that a stream draws from; all zeros when it has no traffic."""
        if stream == WHOLE:
            return self.weights
        mask = [self.departments[query.query_id] == stream for query in self.queries]
        return _normalised(np.where(mask, self.weights, 0.0))


def population(
    queries: Sequence[Answer],
    traffic: Mapping[str, float],
    departments: Mapping[str, str],
    guarded: Sequence[str],
) -> Population:
    """Returns the queries with their shares of the traffic; equal ones where there is none."""
    weights = np.array([traffic[query.query_id] for query in queries], dtype=np.float64)
    if weights.sum() <= 0:
        weights = np.ones(len(queries))
    return Population(queries, _normalised(weights), departments, guarded)


def draw_panel(
    people: Population, config: GateConfig, rng: np.random.Generator, before: Plan | None
) -> list[Drawn]:
    """Returns the panel in the order that is recorded.

    Args:
        people: The queries.
        config: The policy.
        rng: Of every choice.
        before: The plan of the channel's last campaign, whose panel is carried over when it was
            drawn by the same policy for the same departments; None for a panel of new draws.
    """
    if not people.queries:
        return []
    if config.sampling == "census":
        order = rng.permutation(len(people.queries))[: config.cap_queries]
        slots = tuple(range(config.results))
        return [Drawn(people.queries[i], WHOLE, slots) for i in order]
    if before is not None and _same_design(before, people, config):
        return _carried_over(before, people, config, rng)
    return _fresh(people, config, rng)


def _same_design(before: Plan, people: Population, config: GateConfig) -> bool:
    return (
        before.policy_digest == config.digest
        and before.sampling == "traffic"
        and set(before.guarded) == set(people.guarded)
        and bool(before.weights)
    )


def _slots(config: GateConfig, rng: np.random.Generator) -> tuple[int, ...]:
    chosen = rng.choice(config.results, config.slots, replace=False)
    return tuple(sorted(int(slot) for slot in chosen))


def _fresh(people: Population, config: GateConfig, rng: np.random.Generator) -> list[Drawn]:
    whole = rng.choice(len(people.queries), config.cap_queries, p=people.weights)
    by_stream = {name: people.stream_weights(name) for name in people.guarded}
    counts = Counter(people.departments[people.queries[i].query_id] for i in whole)
    left = {name: config.cap_department - counts[name] for name in people.guarded}
    drawn: list[Drawn] = []

    def one_of_each_department() -> None:
        for name in people.guarded:
            mass = by_stream[name]
            if left[name] > 0 and mass.sum() > 0:
                left[name] -= 1
                pick = int(rng.choice(len(mass), p=mass))
                drawn.append(Drawn(people.queries[pick], name, _slots(config, rng)))

    for number, index in enumerate(whole, start=1):
        drawn.append(Drawn(people.queries[index], WHOLE, _slots(config, rng)))
        if number % _DEPARTMENT_PACE == 0:
            one_of_each_department()
    for _ in range(max([0, *left.values()])):
        one_of_each_department()
    return drawn


def _carried_over(
    before: Plan, people: Population, config: GateConfig, rng: np.random.Generator
) -> list[Drawn]:
    place = {query.query_id: index for index, query in enumerate(people.queries)}
    now: dict[str, Floats] = {}
    then: dict[str, Floats] = {}
    earlier = np.array([before.weights.get(query.query_id, 0.0) for query in people.queries])
    for stream in (WHOLE, *people.guarded):
        now[stream] = people.stream_weights(stream)
        if stream == WHOLE:
            then[stream] = earlier
            continue
        # A query may have changed its department; the old share is of the old department's whole.
        total = sum(
            weight
            for query_id, weight in before.weights.items()
            if before.departments.get(query_id) == stream
        )
        mine = [before.departments.get(query.query_id) == stream for query in people.queries]
        then[stream] = np.where(mine, earlier, 0.0) / total if total > 0 else earlier * 0.0
    rest = {name: _normalised(np.maximum(now[name] - then[name], 0.0)) for name in now}
    drawn: list[Drawn] = []
    for draw in before.draws:
        weights = now[draw.stream]
        if weights.sum() <= 0:
            continue
        index = place.get(draw.query_id, -1)
        slots = draw.slots
        if rng.random() < config.rotate:
            index, slots = int(rng.choice(len(weights), p=weights)), _slots(config, rng)
        else:
            old = then[draw.stream][index] if index >= 0 else 0.0
            stays = old > 0 and rng.random() < weights[index] / old
            if not stays:
                spread = rest[draw.stream] if rest[draw.stream].sum() > 0 else weights
                index, slots = int(rng.choice(len(spread), p=spread)), _slots(config, rng)
        drawn.append(Drawn(people.queries[index], draw.stream, slots))
    return drawn


def _normalised(weights: Floats) -> Floats:
    total = weights.sum()
    return weights / total if total > 0 else weights
