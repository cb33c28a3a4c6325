"""Who rates what: qualification golds first, then live pairs with golds hidden among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from components.human_eval.config import GateConfig
from components.human_eval.plan import Plan
from components.human_eval.raters import SIMILAR

Work = dict[str, list[str]]


def qualification(plan: Plan, raters: Sequence[str], config: GateConfig) -> Work:
    """Returns the golds that each rater answers first: balanced, and spread over the pool.

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
    golds = [gold.task_id for gold in plan.golds]
    return {
        rater: _hide_golds(queue, [g for g in golds if g not in taken[rater]], config, rng)
        for rater, queue in queues.items()
    }


def _hide_golds(
    queue: list[str], golds: list[str], config: GateConfig, rng: np.random.Generator
) -> list[str]:
    share = config.hidden_gold_share
    wanted = min(len(golds), round(len(queue) * share / max(1.0 - share, 0.01)))
    chosen = [golds[i] for i in rng.permutation(len(golds))[:wanted]]
    mixed = list(queue)
    for gold in chosen:
        mixed.insert(int(rng.integers(len(mixed) + 1)), gold)
    return mixed
