"""Who rates what: qualification golds first, then live pairs with golds hidden among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np

from components.human_eval.config import GateConfig
from components.human_eval.plan import Plan
from components.human_eval.raters import SIMILAR

Work = dict[str, list[str]]


def qualification(plan: Plan, raters: Sequence[str], config: GateConfig) -> Work:
    """Returns the golds that each rater answers first: balanced, and spread over the pool.

    So many different ones as get enough ratings each to measure the labels by; the rest of the pool
    is for the golds hidden in live work.

    Args:
        plan: The sampling plan.
        raters: Who rates.
        config: The policy.

    Returns:
        Task ids in order, by rater.
    """
    rng = np.random.default_rng([config.seed, 1])
    half = (config.qualification_golds + 1) // 2
    positives = [gold.task_id for gold in plan.golds if (gold.gold or 0) >= SIMILAR]
    negatives = [gold.task_id for gold in plan.golds if (gold.gold or 0) < SIMILAR]
    # Half a rating more than needed: some raters will be banned.
    most = max(half, int(len(raters) * half / (config.ratings_per_pair + 0.5)))
    positives, negatives = positives[:most], negatives[:most]
    work: Work = {}
    for number, rater in enumerate(raters):
        mine = [
            pool[(number * half + step) % len(pool)]
            for pool in (positives, negatives)
            for step in range(min(half, len(pool)))
        ]
        work[rater] = [mine[i] for i in rng.permutation(len(mine))]
    return work


def live_work(
    plan: Plan,
    needed: Mapping[str, int],
    raters: Sequence[str],
    seen: Mapping[str, set[str]],
    config: GateConfig,
    *,
    round_number: int = 0,
) -> Work:
    """Returns live tasks in the recorded order, spread evenly, with hidden golds among them.

    Args:
        plan: The sampling plan.
        needed: Ratings still needed by task.
        raters: Who may rate.
        seen: Tasks that each rater has answered: nobody answers one twice.
        config: The policy.
        round_number: Of the reissue, so that every round shuffles anew.
    """
    rng = np.random.default_rng([config.seed, 2, round_number])
    taken = {rater: set(seen.get(rater, set())) for rater in raters}
    queues: Work = {rater: [] for rater in raters}
    for task in plan.recorded_tasks():
        free = [rater for rater in raters if task not in taken[rater]]
        noise = rng.random(len(free))
        order = sorted(range(len(free)), key=lambda i: (len(queues[free[i]]), noise[i]))
        for choice in order[: needed.get(task, 0)]:
            queues[free[choice]].append(task)
            taken[free[choice]].add(task)
    given = Counter(
        task for tasks in seen.values() for task in tasks if task in {g.task_id for g in plan.golds}
    )
    sides = [
        [gold.task_id for gold in plan.golds if ((gold.gold or 0) >= SIMILAR) == positive]
        for positive in (True, False)
    ]
    for rater, queue in queues.items():
        free_golds = [[g for g in side if g not in taken[rater]] for side in sides]
        queues[rater] = _hide_golds(queue, free_golds, given, config, rng)
    return queues


def _hide_golds(
    queue: list[str],
    sides: Sequence[Sequence[str]],
    given: Counter[str],
    config: GateConfig,
    rng: np.random.Generator,
) -> list[str]:
    """Returns the queue with golds in it, of either side as many, those begun first."""
    share = config.hidden_gold_share
    wanted = len(queue) * share / max(1.0 - share, 0.01)
    # Half a gold is drawn by lot, or short queues would never hold one.
    number = int(wanted) + int(rng.random() < wanted % 1.0)
    ranked: list[list[str]] = []
    for side in sides:
        luck = {gold: rng.random() for gold in side}
        # A gold with enough ratings measures no better with more: begun ones are completed first.
        ranked.append(
            sorted(
                side,
                key=lambda g: (given[g] >= config.ratings_per_pair, -given[g], luck[g]),
            )
        )
    first = int(rng.integers(2))
    ordered = [
        gold
        for pair in zip_longest(ranked[first], ranked[1 - first])
        for gold in pair
        if gold is not None
    ]
    chosen = ordered[:number]
    given.update(chosen)
    mixed = list(queue)
    for gold in chosen:
        mixed.insert(int(rng.integers(len(mixed) + 1)), gold)
    return mixed
