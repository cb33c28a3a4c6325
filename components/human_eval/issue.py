"""Which pairs are worth a rater's time now: what is decided already is not asked again.

The evidence may be looked at as often as one likes, so rating stops, stream by stream, as soon as
its evidence suffices: the whole, each department, each comparison. Which pairs come next hangs on
the recorded order alone. Who issues work asks this after every batch; the lists are short, as every
pair beyond the next look may turn out not to be needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from components.human_eval.aggregate import Labels
from components.human_eval.config import GateConfig
from components.human_eval.decision import Component
from components.human_eval.eprocess import log_e
from components.human_eval.evidence import components, streams
from components.human_eval.plan import WHOLE, Plan

_COMPARISONS_AHEAD = 10


def wanted(plan: Plan, labels: Labels, config: GateConfig, *, alpha: float = 0.0) -> list[str]:
    """Returns the live tasks to be rated next, in the recorded order.

    Args:
        plan: The sampling plan.
        labels: What the ratings say so far.
        config: The policy.
        alpha: The error in force, where it was divided; the policy's when 0.

    Returns:
        Tasks that still need ratings. Those of the whole come look by look; a stream whose evidence
        suffices asks for nothing. When all suffices but too few pairs are rated for a first look,
        the whole goes on. Empty: there is nothing left to ask.
    """
    alpha = alpha or config.alpha
    parts = components(plan, labels, config)
    found = {WHOLE if part.name == "similarity" else part.slice: part for part in parts
             if part.name in ("similarity", "department_similarity")}  # fmt: skip
    order: dict[str, None] = {}
    by_stream = streams(plan, [name for name in found if name in plan.guarded])
    open_draws: set[int] = set()
    place = {id(draw): index for index, draw in enumerate(plan.draws)}
    suffices = all(_suffices(part, alpha) for part in parts)
    for name, draws in by_stream.items():
        part = found.get(name)
        if part is None or (_suffices(part, alpha) and not (name == WHOLE and suffices)):
            continue
        missing = [d for d in draws if any(task in labels.needed for task in d.tasks)]
        open_draws.update(place[id(draw)] for draw in missing[: config.look_every])
    for index in sorted(open_draws):
        order.update(dict.fromkeys(plan.draws[index].tasks))
    for part in parts:
        contest = {
            "non_inferiority": plan.comparisons,
            "anchor": plan.anchor.comparisons if plan.anchor else (),
        }.get(part.name, ())
        # Blocked for want of known label quality: comparisons go on meanwhile.
        if part.held or _suffices(part, alpha):
            continue
        missing_pairs = [c for c in contest if any(task in labels.needed for task in c.tasks)]
        for comparison in missing_pairs[:_COMPARISONS_AHEAD]:
            order.update(dict.fromkeys(comparison.tasks))
    return _in_order(plan, [task for task in order if task in labels.needed])


def _suffices(part: Component, alpha: float) -> bool:
    if part.held:
        return True
    if part.blocked or not part.scores:
        return False
    return log_e(part.scores, part.mean) >= math.log(1.0 / alpha)


def _in_order(plan: Plan, tasks: Sequence[str]) -> list[str]:
    chosen = frozenset(tasks)
    return [task for task in plan.recorded_tasks() if task in chosen]
