"""Which pairs are worth a rater's time now: what is decided already is not asked again.

The evidence may be looked at as often as one likes, so rating stops, stream by stream, as soon as
its evidence suffices: the whole, each department, each comparison. Which pairs come next hangs on
the recorded order alone. Who issues work asks this after every batch; the lists are short, as every
pair beyond the next look may turn out not to be needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

from components.human_eval.aggregate import Labels
from components.human_eval.config import GateConfig
from components.human_eval.decision import Component
from components.human_eval.eprocess import log_e
from components.human_eval.evidence import components, streams
from components.human_eval.plan import WHOLE, Plan

# Draws of a department, and comparisons, that are issued beyond what is complete.
_AHEAD = 4


def worth_rating(
    plan: Plan,
    labels: Labels,
    config: GateConfig,
    *,
    undecided: Callable[[Labels], bool],
    alpha: float = 0.0,
    ahead: Sequence[int] = (1,),
    asked_again: Collection[str] = (),
) -> list[str]:
    """Returns the live tasks to be rated now, the most urgent first: the rule for whoever issues.

    Args:
        plan: The sampling plan.
        labels: What the ratings say so far.
        config: The policy.
        undecided: Whether a look would find the evidence wanting; else nothing more is asked.
        alpha: The error in force, where it was divided; the policy's when 0.
        ahead: How many looks ahead; later ones come after all of the earlier.
        asked_again: Pairs of which the owner has asked for more ratings: they come first.

    Returns:
        Tasks that still need ratings. A census is rated whole.
    """
    order = [task for task in plan.recorded_tasks() if task in labels.needed]
    if plan.sampling == "census":
        return order
    found = {task: None for task in order if task in asked_again}
    if undecided(labels):
        for step in ahead:
            found |= dict.fromkeys(wanted(plan, labels, config, alpha=alpha, ahead=step))
    return list(found)


def wanted(
    plan: Plan, labels: Labels, config: GateConfig, *, alpha: float = 0.0, ahead: int = 1
) -> list[str]:
    """Returns the live tasks to be rated next, in the recorded order.

    Args:
        plan: The sampling plan.
        labels: What the ratings say so far.
        config: The policy.
        alpha: The error in force, where it was divided; the policy's when 0.
        ahead: How many batches to look ahead: one keeps a few raters busy and asks for the fewest
            pairs; many raters at once need more.

    Returns:
        Tasks that still need ratings. Those of the whole come look by look; a stream whose evidence
        suffices asks for nothing. When all suffices but too few pairs are rated for a first look,
        the whole goes on. Empty: there is nothing left to ask.
    """
    alpha = alpha or config.alpha
    parts = components(plan, labels, config)
    by_slice = {
        WHOLE if part.name == "similarity" else part.slice: part
        for part in parts
        if part.name in ("similarity", "department_similarity")
    }
    open_tasks: set[str] = set()
    everything = all(_suffices(part, alpha) for part in parts)
    for name, draws in streams(plan, [name for name in by_slice if name in plan.guarded]).items():
        part = by_slice.get(name)
        if part is None or (_suffices(part, alpha) and not (name == WHOLE and everything)):
            continue
        missing = (
            n for n, draw in enumerate(draws) if not labels.needed.keys().isdisjoint(draw.tasks)
        )
        start = next(missing, len(draws))
        # Earlier judgements may cover the next draws: the batch ends at a place, not at a count.
        end = (
            (start // config.look_every + ahead) * config.look_every
            if name == WHOLE
            else start + _AHEAD * ahead
        )
        for draw in draws[start:end]:
            open_tasks.update(draw.tasks)
    for part in parts:
        contest = {
            "non_inferiority": plan.comparisons,
            "anchor": plan.anchor.comparisons if plan.anchor else (),
        }.get(part.name, ())
        # Blocked for want of known label quality: comparisons go on meanwhile.
        if part.held or _suffices(part, alpha):
            continue
        missing_pairs = [c for c in contest if not labels.needed.keys().isdisjoint(c.tasks)]
        for comparison in missing_pairs[: _AHEAD * ahead]:
            open_tasks.update(comparison.tasks)
    return [task for task in plan.recorded_tasks() if task in open_tasks and task in labels.needed]


def _suffices(part: Component, alpha: float) -> bool:
    if part.held:
        return True
    if part.blocked or not part.scores:
        return False
    return log_e(part.scores, part.mean) >= math.log(1.0 / alpha)
